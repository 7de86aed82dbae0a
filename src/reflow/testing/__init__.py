"""For tests of reflow and of applications: schedules, faults and clocks that follow a seed."""
