"""Roll out base and policy in turns from the same initial states, and measure how differently they move."""
