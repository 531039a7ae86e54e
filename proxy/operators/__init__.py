"""`tensorwall operators`: tokens for the admin port."""
