"""Meta scripts that are hard to hand on unharmed; each must do on every system what its shell does here."""

from __future__ import annotations

NATIVE = (
    "#$ -l h_rt=0:5:0\n#$\t-N\tna_tive\n#$-cwd\n#$ -l s_rt=300,h_vmem=4G # comment\n"
    "#SBATCH --comment='a b' -J \"x y\" # c\n#PBS -N nat\n#PBS -l walltime=0:5:0\n#CLOUDQ --walltime=0:5:0\n"
)
QUOTES = """#!/bin/bash
echo 'it'"'"'s' "a \\"b\\" \\$HOME" `echo back` $'tab\\there' "$(echo "nested 'q'")"
cat <<'EOT'
#$ -l nosuch=1
#$ run-on? ' " ` $ \\ %j {{ jinja }} {% x %} {# c #}
#SBATCH --nope
#BSUB -Z
#PBS -Z zz
EOT
exit 3
"""
CRLF = (
    "\ufeff#!/bin/bash\n#$ walltime: 0:10:00\n"
    + NATIVE
    + "x='a\nb'\necho \"$x\"\nif true; then\n  echo yes\nfi\ncat <<E\nhere\nE\nexit 4"
)
TABS = (
    "#!/bin/bash\n\t#$\twalltime:\t0:10:00\t\n#$walltime : 0:11:00\n \t \n\t# comment\n"
    '\techo\ta\tb\t"\t"\n\tcat <<-E\n\t\tindent\n\tE\n'
)
UNICODE = (
    '#!/bin/bash\n# コメント — ünïcödé \u2028 x \x0c \x85\nécho() { echo "é\u3042😀$1"; }\n'
    "écho ' nbsp:\u00a0 zwsp:\u200b '\nexit 5\n"
)
LONG = (
    "#!/bin/bash\n"
    + "# filler\n" * 5000
    + NATIVE
    + "#$ walltime: 0:09:00\nn=0\n"
    + "n=$((n+1)) # 'x\n" * 5000
    + "y='"
    + "z" * 100_000
    + "'\necho $n ${#y}\n#$ -l nosuch=3"
)
SCRIPTS = {
    "quotes and here-documents": QUOTES,
    "CR LF": CRLF.replace("\n", "\r\n"),
    "tabs": TABS,
    "Unicode": UNICODE,
    "no newline at the end": "#!/bin/sh\necho end\nexit 6",
    "backslash at the end": "#!/bin/bash\nprintf '<%s>' a\\",
    "here-document at the end": "#!/bin/sh\ncat <<E\nx\nE",
    "ten thousand lines": LONG,
    "native lines only": NATIVE + "echo y\nexit 9\n",
    "flags of the shell": "#!/bin/bash -eu\necho $-\nfalse\necho not reached\n",
    "directives only": "#!/bin/bash\n#$ walltime: 0:10:00",
}


def as_a_shell_reads_it(text: str) -> str:
    """Return the script without byte order mark and carriage returns, which no shell takes for nothing."""
    return text.lstrip("\ufeff").replace("\r\n", "\n")
