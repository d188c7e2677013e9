"""Tools that Sonant runs: what they are, which of them a request is offered, and how their calls are made."""
