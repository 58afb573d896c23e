"""Helpers that only other compiled code calls: kept as LLVM's intermediate code, to be optimised where they are called.

Numba optimises each function and makes machine code of it, and then all of it once more in each function that it is
inlined into. Of a helper nobody runs that machine code. It is half of the time that compiling would take.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, CompileResult, DefaultPassBuilder, compile_result
from numba.core.compiler_machinery import LoweringPass, register_pass
from numba.core.typed_passes import NativeLowering

_KIND = "intermediate"


class _Intermediate(JITCodeLibrary):  # type: ignore[misc]
    """Code that other libraries link in, and that is never loaded by itself."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def serialize_using_object_code(self) -> tuple[str, str, bytes]:
        """What the cache keeps."""
        return self.name, _KIND, self._get_module_for_linking().as_bitcode()


def _key() -> Any:
    """What Numba knows a helper by, in place of a function of Python: any built-in one of its own."""
    return [].append


@register_pass(mutates_CFG=False, analysis_only=True)
class _Register(LoweringPass):  # type: ignore[misc]
    """Make a helper known to those that call it."""

    _name = "register_helper"

    def __init__(self) -> None:
        LoweringPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        """After lowering, which leaves this out where nothing is to be loaded."""
        state.cr = state.cr._replace(cfunc=_key())
        state.targetctx.insert_user_function(state.cr.cfunc, state.cr.fndesc, [state.library])
        return False


class HelperCompiler(CompilerBase):  # type: ignore[misc]
    """Numba's compiler for such helpers."""

    def define_pipelines(self) -> list[Any]:
        """Numba's own passes, with another library."""
        state = self.state
        state.library = _Intermediate(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        state.flags.no_compile = True
        passes = DefaultPassBuilder.define_nopython_pipeline(state)
        passes._finalized = False
        passes.add_pass_after(_Register, NativeLowering)
        passes.finalize()
        return [passes]


def rebuild(target: Any, reduced: tuple[Any, ...]) -> Any:
    """Numba's result of compiling, from what the cache keeps of it."""
    (name, kind, *code), fndesc, environment, signature, _, _, annotation, reload, _ = reduced
    if kind != _KIND:
        return CompileResult._rebuild(target, *reduced)
    library = _Intermediate(target.codegen(), name)
    library._final_module = library._shared_module = llvm.parse_bitcode(code[0])
    library._finalized = True
    return compile_result(
        typing_context=target.typing_context, target_context=target, entry_point=_key(), typing_error=None,
        type_annotation=annotation, library=library, call_helper=None, signature=signature, objectmode=False,
        lifted=(), fndesc=fndesc, environment=environment, metadata=None, reload_init=reload,
    )  # fmt: skip
