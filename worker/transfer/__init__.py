"""Write and read images: pushes, resumable uploads, OCI image layouts."""
