"""What streamkl is held to: the specification of the alarm and slow, clear restatements. Nothing here imports streamkl."""
