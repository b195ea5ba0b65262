# SPDX-License-Identifier: GPL-2.0
"""`ukl check`: what would go wrong with a program, before anything is built.

unit.py and target.py find what is to be read; each of the other modules looks for one
kind of hazard in it and yields findings. rules.py has the words.
"""
