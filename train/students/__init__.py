"""Students: what they are to be, how they are made, and what is trained beside them."""
