"""The live channel: reply frames and signals, worthless a minute later."""
