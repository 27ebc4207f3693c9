"""Images in and out: pushes, resumable uploads, OCI image layouts."""
