"""What happened to a run, in a screenful."""

from framework.explaining.account import Account, account
from framework.explaining.showing import show

__all__ = ["Account", "account", "show"]
