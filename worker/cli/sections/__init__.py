"""What `dredge status` is made of: one module for each section."""
