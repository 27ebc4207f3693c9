"""What the whole system lives through: real servers and real processes that are ill-treated."""
