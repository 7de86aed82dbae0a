"""reflow's vector indexes as the vector stores of other projects; each module needs the extra of its name."""
