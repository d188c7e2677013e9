"""The life of a turn: claimed, answered, perhaps stopped or resumed, and ended once."""
