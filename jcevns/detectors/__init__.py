"""From recoil energy to observable: charge yields and linear responses."""
