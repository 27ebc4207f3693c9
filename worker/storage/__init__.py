"""Object stores: a local directory and S3, behind one interface."""
