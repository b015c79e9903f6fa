"""The differential probe: does every arm of a grid differ, and only in what it declares?"""
