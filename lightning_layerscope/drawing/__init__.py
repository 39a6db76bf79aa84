"""Pictures and pages of a run, drawn beside training: a process of low priority reads the run's folder and draws.

What trains and what draws meet in files and one pipe alone. ``process.py`` is the side that trains and loads nothing
that draws; ``worker.py`` is the other side; ``passing.py`` says what lies in the folder between the two.
"""
