"""A command that refuses an option given twice, since one value would be ignored silently."""

from typing import Any

from typer.core import TyperCommand


class OnceCommand(TyperCommand):
    """Refuses an option that is given twice, unless it is a list.

    A variable of the environment and the option on the command line stay allowed: the
    command line wins.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See click. Exits 2 with the name of the option."""
        if not ctx.resilient_parsing:  # completion in a shell
            self._check(ctx, list(args))  # parsing removes items from it
        return super().parse_args(ctx, args)

    def _check(self, ctx: Any, args: list[str]) -> None:
        _, _, given = self.make_parser(ctx).parse_args(args=args)
        if any(parameter.name == "help" for parameter in given):
            return  # help was requested
        for parameter in given:
            if takes_one_value(parameter) and given.count(parameter) > 1:
                times = given.count(parameter)
                ctx.fail(f"{parameter.opts[0]} is given {times} times, and takes one value")


def takes_one_value(parameter: Any) -> bool:
    """Whether this is an option whose second value would replace the first.

    A flag that can only be switched on has no second value.
    """
    if parameter.param_type_name != "option" or parameter.multiple or parameter.count:
        return False
    return not parameter.is_flag or bool(parameter.secondary_opts)
