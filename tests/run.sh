#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every test, on a machine that has nothing yet (Debian 12, root).
#
#   tests/run.sh                 everything
#   tests/run.sh unit style      only these: unit style sanitize integration valgrind analyze hardened (deep)
#
# Integration tests marked "sanitize" run in "hardened", with a broker built with sanitizers; in "integration", too, if "hardened" is not asked for.
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tests/lib.sh"
need_root
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d /tmp/modernauth-test.XXXXXX)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
failures=()

test_packages=(libcmocka-dev libnghttp2-dev nghttp2-server valgrind clang clang-tidy libclang-rt-14-dev python3-pytest
	python3-pytest-timeout python3-pytest-xdist fetchmail isync libsasl2-modules mutt msmtp swaks slapd ldap-utils dovecot-ldap libnet-ssleay-perl procps
	prometheus chromium chromium-driver python3-selenium fonts-dejavu-core python3-jsonschema zstd rsyslog liblognorm-utils libsasl2-dev postfix sasl2-bin)

# count PASSED FAILED NAME
count() {
	passed=$((passed + $1))
	failed=$((failed + $2))
	[ "$2" = 0 ] || failures+=("$3")
	printf '%s: %d passed, %d failed\n' "$3" "$1" "$2"
}

# A step that only passes or fails.
check() {
	local name=$1 log=$work/check.log
	shift
	if "$@" >"$log" 2>&1; then
		count 1 0 "$name"
	else
		tail -40 "$log"
		count 0 1 "$name"
	fi
}

# meson_tests NAME DIR [options]: counts the cmocka cases, and each program that counts none as one.
meson_tests() {
	local name=$1 dir=$2 ok bad
	shift 2
	meson test -C "$dir" --no-rebuild --print-errorlogs "$@" >"$work/meson.out" 2>&1
	local rc=$?
	read -r ok bad < <(/usr/bin/python3 "$top/tests/tools/count_cases.py" "$dir/meson-logs")
	if [ $rc != 0 ]; then
		cat "$work/meson.out"
		[ "$bad" != 0 ] || bad=1
	fi
	count "$ok" "$bad" "$name"
}

# Most tests wait for somebody else most of the time. Each process has stand-ins, ports and directories of its own.
side_by_side=(-n 4 --dist loadfile)

pytest_once() {
	local log=$1
	shift
	(cd "$top/tests/integration" && /usr/bin/python3 -m pytest -q -p no:cacheprovider --tb=short "$@") 2>&1 | tee "$log" | tail -60
	ok=$(grep -oE '[0-9]+ passed' "$log" | tail -1 | grep -oE '[0-9]+')
	bad=$(grep -oE '[0-9]+ (failed|error)' "$log" | grep -oE '^[0-9]+' | paste -sd+ | bc)
	# No summary means that pytest itself broke.
	[ -n "$ok$bad" ] || bad=1
	ok=${ok:-0} bad=${bad:-0}
}

# Real programs with deadlines of their own do not bear every load. Files in which something failed are run once more, alone and with
# nothing beside them: what fails then has failed, and what does not is named at the end all the same.
pytest_run() {
	local name=$1 first again files ok bad
	shift
	pytest_once "$work/pytest.log" "$@"
	mapfile -t files < <(grep -oE '^(FAILED|ERROR) [a-z_0-9]+\.py' "$work/pytest.log" | cut -d' ' -f2 | sort -u)
	if [ "$bad" != 0 ] && [ ${#files[@]} -gt 0 ] && [ ${#files[@]} -le 5 ]; then
		wait "${background[@]}"
		say "$name: once more, alone: ${files[*]}"
		first=$ok again=("${@/%./}")
		mapfile -t again < <(printf '%s\n' "${again[@]}" | grep -vE '^(-n|[0-9]+|--dist|loadfile|test_.*\.py|)$')
		pytest_once "$work/again.log" "${again[@]}" "${files[@]}"
		if [ "$bad" = 0 ]; then
			unsteady+=("$name: $(grep -E '^(FAILED|ERROR) ' "$work/pytest.log" | cut -d' ' -f2 | paste -sd' ')")
			ok=$((first + $(grep -cE '^(FAILED|ERROR) ' "$work/pytest.log")))
		else
			ok=$first
		fi
	fi
	count "$ok" "$bad" "$name"
}
unsteady=()

step_unit() {
	build "$work/build" && meson_tests unit "$work/build"
}

step_style() {
	local script
	for script in "$top"/tests/style/*.py; do
		check "style/$(basename "$script" .py)" /usr/bin/python3 "$script" "$top"
	done
}

step_sanitize() {
	build "$work/asan" -Db_sanitize=address,undefined -Db_lundef=false || { count 0 1 sanitize; return; }
	UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 ASAN_OPTIONS=detect_leaks=1 \
		SLOW_TESTS=1 meson_tests "unit under ASan and UBSan" "$work/asan" --timeout-multiplier 4
}

# What needs a processor and nobody's attention goes on beside the tests that mostly wait, at the lowest priority.
in_background() {
	local name=$1
	shift
	(nice -n 19 "$@" >"$work/$name.log" 2>&1; echo $? >"$work/$name.rc") &
	background+=($!)
}
background=()

# finished NAME TEXT: waits for it, counts it.
finished() {
	wait "${background[@]}"
	check "$2" bash -c 'cat "$1.log"; exit "$(cat "$1.rc")"' - "$work/$1"
}

begin_analysis() {
	[ -e "$work/tidy.log" ] && return
	in_background tidy bash "$top/tests/tools/tidy.sh" "$work/build"
	in_background analyze /usr/bin/python3 "$top/tests/tools/analyze.py" "$work/build"
}

# Without those that only wait for scrypt and RSA, or look at many lines, which valgrind makes ten times slower; sanitizers see them.
begin_valgrind() {
	[ -e "$work/valgrind.log" ] && return
	in_background valgrind env SLOW_TESTS=1 meson test -C "$work/build" --no-rebuild --print-errorlogs --suite unit --no-suite heavy \
		--timeout-multiplier 20 --logbase valgrind --wrap "valgrind -q --leak-check=full \
--show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect --error-exitcode=99"
}

step_valgrind() {
	local ok bad rc
	begin_valgrind
	wait "${background[@]}"
	rc=$(cat "$work/valgrind.rc")
	read -r ok bad < <(/usr/bin/python3 "$top/tests/tools/count_cases.py" "$work/build/meson-logs" valgrind)
	if [ "$rc" != 0 ]; then
		cat "$work/valgrind.log"
		[ "$bad" != 0 ] || bad=1
	fi
	count "$ok" "$bad" "unit under valgrind"
}

step_analyze() {
	begin_analysis
	finished tidy "clang-tidy"
	finished analyze "gcc -fanalyzer"
}

step_integration() {
	case " ${steps[*]} " in *" valgrind "*) begin_valgrind;; esac
	case " ${steps[*]} " in *" analyze "*) begin_analysis;; esac
	check install meson install -C "$work/build" --no-rebuild
	# It conflicts with Postfix as a package, not as a program.
	(cd "$work" && apt-get download nullmailer && dpkg -x nullmailer_*.deb nullmailer) >/dev/null 2>&1 && export NULLMAILER=$work/nullmailer
	local which=()
	case " ${steps[*]} " in *" hardened "*) which=(-m "not sanitize");; esac
	MODERNAUTH_BUILD=$work/build pytest_run integration "${side_by_side[@]}" "${which[@]}" .
}

# The processes themselves under a checker: valgrind (broker, auth, login processes) with what every login goes through, the
# broker built with sanitizers with everything that is not about speed. "deep" is all of it under valgrind, half an hour.
step_hardened() {
	[ -d "$work/asan" ] || build "$work/asan" -Db_sanitize=address,undefined -Db_lundef=false || return 1
	MODERNAUTH_BUILD=$work/build MODERNAUTH_SANITIZE=valgrind pytest_run "integration under valgrind" -m sanitize \
		test_login.py test_reload.py
	MODERNAUTH_BUILD=$work/asan MODERNAUTH_SANITIZE=asan pytest_run "integration under ASan and UBSan" "${side_by_side[@]}" -m sanitize .
}

step_deep() {
	MODERNAUTH_BUILD=$work/build MODERNAUTH_SANITIZE=valgrind pytest_run "all integration under valgrind" -m sanitize .
}

install_packages "${build_packages[@]}" "${demo_packages[@]}" "${test_packages[@]}" bc || exit 1
ensure_user
say "building"
build "$work/build" || { echo "0 passed, 1 failed"; exit 1; }
steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(unit style sanitize integration valgrind analyze hardened)
for step in "${steps[@]}"; do
	say "$step (after $SECONDS s)"
	"step_$step" || count 0 1 "$step"
done

say "result (after $SECONDS s)"
[ ${#unsteady[@]} = 0 ] || printf 'passed only alone: %s\n' "${unsteady[@]}"
[ ${#failures[@]} = 0 ] || printf 'failed: %s\n' "${failures[@]}"
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
