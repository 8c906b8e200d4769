"""The scripts that shells source. All they know is whom to ask, and which words a space may follow."""

from __future__ import annotations

__all__ = ["SHELLS", "script"]

# A word that ends so goes on: an option without its value, a section, a folder, a place.
_BASH = """\
# Completion of mmeframe for bash: eval "$(mmeframe completion bash)"
_mmeframe() {
    local word
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("$word")
    done < <("${1/#\\~\\//$HOME/}" completion words bash "$COMP_LINE" "$COMP_POINT" "$COMP_WORDBREAKS" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=./:@] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _mmeframe mmeframe
"""

_ZSH = """\
#compdef mmeframe
# Completion of mmeframe for zsh: eval "$(mmeframe completion zsh)" after compinit, or a file _mmeframe in $fpath
_mmeframe() {
    local -a found open
    found=("${(@f)$(${(Q)words[1]} completion words zsh "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    found=(${found:#})
    open=(${(M)found:#*[=./:@]})
    found=(${found:#*[=./:@]})
    compadd -S '' -a open
    compadd -a found
    (( ${#open} + ${#found} ))
}
if [[ $funcstack[1] == _mmeframe ]]; then
    _mmeframe "$@"
else
    compdef _mmeframe mmeframe
fi
"""

_FISH = """\
# Completion of mmeframe for fish: mmeframe completion fish | source
function __mmeframe_words
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    $before[1] completion words fish $before[2..-1] "$current" 2>/dev/null
end
complete -c mmeframe -f -a '(__mmeframe_words)'
"""

SHELLS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def script(shell: str) -> str:
    """The script of a shell in ``SHELLS``."""
    return SHELLS[shell]
