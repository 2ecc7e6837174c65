"""One function per figure: frames and fits in, a plotly figure out; None where there is nothing sound to draw."""
