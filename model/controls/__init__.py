"""Controls that operators set and every collection obeys: holds, breakers, windows and limits."""
