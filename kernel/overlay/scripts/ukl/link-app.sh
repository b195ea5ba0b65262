#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Partially link an application and its libraries into the object for
# CONFIG_UKL_APP, and optionally link that object into an ordinary static
# executable.
#
# usage: link-app.sh -o APP.o [-u USER] [-g APP.debug.o] FILE.o... [LIB.a|-lNAME]...
#
# A weak undefined symbol ukl_import_NAME refers to the global kernel function
# NAME, for ukl_call.
#
# The script adds the C library and libgcc of the compiler; a C++ program has to
# add -lstdc++ -lm. The environment may set CC, LD, OBJCOPY and READELF.

set -eu
export LC_ALL=C

CC=${CC:-gcc}
LD=${LD:-ld}
OBJCOPY=${OBJCOPY:-objcopy}
READELF=${READELF:-readelf}
FLAGS="-O2 -Wall -mno-red-zone -mcmodel=kernel -fno-pic -fno-pie \
	-mstack-protector-guard=tls -mstack-protector-guard-reg=fs \
	-mstack-protector-guard-offset=40"

# Symbols defined by the kernel, or by the final link of a normal executable. ld
# replaces calls of __tls_get_addr, known by name, with plain accesses.
IMPORTS="ukl_syscall ukl_call ukl_ehdr_start __ehdr_start __rela_iplt_start __rela_iplt_end \
_GLOBAL_OFFSET_TABLE_ __tls_get_addr"

# Names that the kernel's scripts look up in vmlinux, where they would find a
# local symbol of the application instead.
BOUNDARIES="_text _stext _etext etext __etext _edata edata __bss_start __bss_stop
	_end end __executable_start"

here=$(cd "$(dirname "$0")" && pwd)

die() {
	echo "link-app: error: $*" >&2
	exit 1
}

usage() {
	sed -n '/^# usage/s/^# //p' "$0" >&2
	exit 2
}

# Print the path of a file in the compiler's search path. $1: its name
compiler_file() {
	path=$($CC -print-file-name="$1")
	case $path in
	/*) printf '%s\n' "$path" ;;
	*) die "$1 not found by $CC -print-file-name" ;;
	esac
}

out= user= debug=
while getopts o:u:g: option; do
	case $option in
	o) out=$OPTARG ;;
	u) user=$OPTARG ;;
	g) debug=$OPTARG ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ -n "$out" ] && [ $# -gt 0 ] || usage

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM

# shellcheck disable=SC2086 # FLAGS is a list
(cd "$here" && $CC $FLAGS -c -o "$tmp/crt.o" crt.S)

# Replace -lNAME by the library's path; keep the caller's order.
first=$#
for file in "$@"; do
	case $file in
	-l*) set -- "$@" "$(compiler_file "lib${file#-l}.a")" ;;
	*) set -- "$@" "$file" ;;
	esac
done
shift "$first"

# Used for both passes. $1: directory of the generated parts of the script; $2:
# output; the files follow. Libraries may depend on each other, so group them.
partial_link() {
	own=$1 output=$2
	shift 2
	# shellcheck disable=SC2086 # wrap is a list
	"$LD" -r -d -X --force-group-allocation --build-id=none -nostdlib $wrap \
		-L "$own" -T "$here/app.lds" -o "$output" \
		"$(compiler_file crt1.o)" "$(compiler_file crti.o)" \
		"$(compiler_file crtbeginS.o)" "$tmp/crt.o" \
		--start-group "$@" "$(compiler_file libgcc.a)" \
		"$(compiler_file libgcc_eh.a)" "$(compiler_file libc.a)" --end-group \
		"$(compiler_file crtendS.o)" "$(compiler_file crtn.o)"
}

# Print "kind name alignment" of each allocated section that is not .ukl.* yet
own_sections() {
	"$READELF" -SW "$1" | sed -n 's/^ *\[ *[0-9]*\] //p' | awk '
		$7 !~ /A/ || $1 ~ /^\.ukl\./ { next }
		$7 ~ /W/ && $7 ~ /X/ { kind = "writable-text" }
		$7 ~ /X/ && $7 !~ /W/ { kind = "text" }
		$7 ~ /T/ { kind = $2 == "NOBITS" ? "tbss" : "tdata" }
		$7 ~ /W/ && $7 !~ /[XT]/ { kind = $2 == "NOBITS" ? "bss" : "data" }
		$7 !~ /[WXT]/ { kind = "rodata" }
		{ print kind, $1, $NF }'
}

# Print "strength type name" of each undefined symbol
undefined() {
	"$READELF" -sW "$1" | awk '
		$7 == "UND" && $8 != "" && ($5 == "GLOBAL" || $5 == "WEAK") {
			print $5, $4, $8 }'
}

wrap=
mkdir "$tmp/none" "$tmp/own"
for kind in text rodata tdata tbss data bss symbols; do
	: >"$tmp/none/own-$kind.lds"
	: >"$tmp/own/own-$kind.lds"
done

# First pass: find the sections and names of this application.
partial_link "$tmp/none" "$tmp/first.o" "$@"

own_sections "$tmp/first.o" >"$tmp/sections"
while read -r kind name align; do
	case $kind in
	writable-text) die "section $name is writable and executable" ;;
	esac
	{
		printf '. = ALIGN(%s);\n' "$align"
		case $name in
		*[!A-Za-z0-9_]* | [0-9]*) printf 'KEEP(*(%s))\n' "$name" ;;
		*)
			printf 'PROVIDE_HIDDEN(__start_%s = .);\n' "$name"
			printf 'KEEP(*(%s))\n' "$name"
			printf 'PROVIDE_HIDDEN(__stop_%s = .);\n' "$name"
			;;
		esac
	} >>"$tmp/own/own-$kind.lds"
done <"$tmp/sections"

# See crt.S.
real=
if "$READELF" -sW "$tmp/first.o" |
	awk '$8 == "dl_iterate_phdr" && $7 != "UND" { found = 1 } END { exit !found }'; then
	real=__real_dl_iterate_phdr
	wrap="--wrap=dl_iterate_phdr -u dl_iterate_phdr"
fi

# An undefined weak symbol is null, even if the kernel defines that name.
functions=
undefined "$tmp/first.o" >"$tmp/undefined"
while read -r strength type name; do
	case " $IMPORTS $real " in
	*" $name "*) continue ;;
	esac
	case $name in
	ukl_import_*)
		functions="$functions --redefine-sym $name=${name#ukl_import_}"
		continue
		;;
	esac
	case $strength-$type in
	WEAK-TLS) ;; # cannot be an absolute symbol; the kernel has none
	WEAK-*) printf 'HIDDEN("%s" = ABSOLUTE(0));\n' "$name" >>"$tmp/own/own-symbols.lds" ;;
	esac
done <"$tmp/undefined"

# Second pass: place all sections.
partial_link "$tmp/own" "$tmp/second.o" "$@"

own_sections "$tmp/second.o" >"$tmp/sections"
[ ! -s "$tmp/sections" ] ||
	die "sections without a place: $(cut -d ' ' -f 2 "$tmp/sections" | tr '\n' ' ')"
undefined "$tmp/second.o" >"$tmp/undefined"
missing=
while read -r strength type name; do
	case " $IMPORTS " in
	*" $name "*) continue ;;
	esac
	[ "$strength" = WEAK ] || missing="$missing $name"
done <"$tmp/undefined"
[ -z "$missing" ] || die "undefined:$missing"

# objcopy localizes global and weak symbols, but not STB_GNU_UNIQUE ones. It
# refuses an empty list.
{
	echo '# STB_GNU_UNIQUE'
	"$READELF" -sW "$tmp/second.o" | awk '$5 == "UNIQUE" { print $8 }'
} >"$tmp/unique"
"$OBJCOPY" --weaken-symbols="$tmp/unique" "$tmp/second.o"

rename=
for name in $BOUNDARIES; do
	rename="$rename --redefine-sym $name=ukl_app_$name"
done
# shellcheck disable=SC2086 # rename is a list
"$OBJCOPY" --redefine-sym _start=ukl_app_start --redefine-sym __ehdr_start=ukl_ehdr_start \
	--keep-global-symbol=ukl_app_start $rename "$tmp/second.o" "$tmp/debug.o"
# shellcheck disable=SC2086 # functions is a list
"$OBJCOPY" --strip-debug $functions "$tmp/debug.o" "$tmp/app.o"

if [ -n "$user" ]; then
	$CC -c -o "$tmp/syscall.o" "$here/syscall.S"
	"$LD" -static -nostdlib --build-id=sha1 -z noexecstack -z relro -T "$here/user.lds" \
		-o "$tmp/user" "$tmp/app.o" "$tmp/syscall.o"
	mv -f "$tmp/user" "$user"
fi
[ -z "$debug" ] || mv -f "$tmp/debug.o" "$debug"
mv -f "$tmp/app.o" "$out"
