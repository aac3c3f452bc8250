#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every test, on a machine that has nothing yet (Debian 12, root).
#
#   tests/run.sh                 everything
#   tests/run.sh unit style      only these: unit style integration hardened sanitize valgrind analyze (deep)
#
# Integration tests marked "sanitize" run in "hardened", with a broker built with sanitizers; in "integration", too, if "hardened" is not asked for.
set -u
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tests/lib.sh"
need_root
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d /tmp/modernauth-test.XXXXXX)
trap '[ -z "$background" ] || kill "$background" 2>/dev/null; rm -rf "$work"' EXIT
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

# run_cases LOG DIR [options]: the tests of a build; what meson says goes to LOG.
run_cases() {
	local log=$1 dir=$2
	shift 2
	meson test -C "$dir" --no-rebuild --print-errorlogs "$@" >"$log" 2>&1
}

# count_cases NAME LOG DIR RC [base]: counts the cmocka cases of such a run, and each program that counts none as one.
count_cases() {
	local name=$1 log=$2 dir=$3 rc=$4 ok bad
	read -r ok bad < <(/usr/bin/python3 "$top/tests/tools/count_cases.py" "$dir/meson-logs" ${5:+"$5"})
	if [ "$rc" != 0 ]; then
		cat "$log"
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

# Real programs with deadlines of their own do not bear every load. Files in which something failed are run once more, one after another:
# what fails then has failed, and what does not is named at the end all the same.
pytest_run() {
	local name=$1 first again files ok bad
	shift
	pytest_once "$work/pytest.log" "$@"
	mapfile -t files < <(grep -oE '^(FAILED|ERROR) [a-z_0-9]+\.py' "$work/pytest.log" | cut -d' ' -f2 | sort -u)
	if [ "$bad" != 0 ] && [ ${#files[@]} -gt 0 ] && [ ${#files[@]} -le 5 ]; then
		say "$name: once more, alone: ${files[*]}"
		first=$ok again=("${@/%./}")
		mapfile -t again < <(printf '%s\n' "${again[@]}" | grep -vE '^(-n|[0-9]+|--dist|loadfile|test_.*\.py|)$')
		pytest_once "$work/again.log" "${again[@]}" "${files[@]}"
		if [ "$bad" = 0 ]; then
			unsteady+=("$name: $(grep -E '^(FAILED|ERROR) ' "$work/pytest.log" | cut -d' ' -f2 | paste -sd' ')")
			# An ERROR may be the end of a test that has been counted already.
			ok=$((first + $(grep -cE '^FAILED ' "$work/pytest.log")))
		else
			ok=$first
		fi
	fi
	count "$ok" "$bad" "$name"
}
unsteady=()

step_unit() {
	build "$work/build" || return 1
	run_cases "$work/unit.log" "$work/build"
	count_cases unit "$work/unit.log" "$work/build" $?
}

step_style() {
	local script
	for script in "$top"/tests/style/*.py; do
		check "style/$(basename "$script" .py)" /usr/bin/python3 "$script" "$top"
	done
}

# -- what needs a processor and nobody's attention: one after another, beside the tests that mostly wait, at the lowest priority

# Each leaves NAME.log, and NAME.rc when it has ended.
in_background() {
	local name=$1
	shift
	"$@" >"$work/$name.log" 2>&1
	echo $? >"$work/$name.rc"
}

background_asan() {
	in_background asan build "$work/asan" -Db_sanitize=address,undefined -Db_lundef=false -Dc_args=-g1
}

background_sanitize() {
	export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 ASAN_OPTIONS=detect_leaks=1 SLOW_TESTS=1
	in_background asan-unit run_cases "$work/asan-meson.log" "$work/asan" --timeout-multiplier 10
}

# Without those that only wait for scrypt and RSA, or look at many lines, which valgrind makes ten times slower; sanitizers see them.
background_valgrind() {
	SLOW_TESTS=1 in_background valgrind run_cases "$work/valgrind-meson.log" "$work/build" --suite unit --no-suite heavy \
		--timeout-multiplier 20 --logbase valgrind --wrap "valgrind -q --leak-check=full \
--show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect --error-exitcode=99"
}

background_analyze() {
	in_background tidy bash "$top/tests/tools/tidy.sh" "$work/build"
	in_background analyze /usr/bin/python3 "$top/tests/tools/analyze.py" "$work/build"
}

wanted() {
	case " ${steps[*]} " in *" $1 "*) return 0;; esac
	return 1
}

background=
begin_background() {
	[ -z "$background" ] || return
	(
		renice -n 19 "$BASHPID" >/dev/null
		{ wanted sanitize || wanted hardened; } && background_asan
		for step in sanitize valgrind analyze; do
			wanted $step && (background_$step)
		done
	) &
	background=$!
}

# ended NAME: waits for it; its status.
ended() {
	begin_background
	until [ -e "$work/$1.rc" ]; do
		kill -0 "$background" 2>/dev/null || break
		sleep 1
	done
	[ -e "$work/$1.rc" ] && return "$(cat "$work/$1.rc")"
}

ended_well() {
	ended "$1" || { cat "$work/$1.log"; return 1; }
}

step_sanitize() {
	ended_well asan || return 1
	ended asan-unit
	count_cases "unit under ASan and UBSan" "$work/asan-meson.log" "$work/asan" $?
}

step_valgrind() {
	ended valgrind
	count_cases "unit under valgrind" "$work/valgrind-meson.log" "$work/build" $? valgrind
}

step_analyze() {
	check "clang-tidy" ended_well tidy
	check "gcc -fanalyzer" ended_well analyze
}

step_integration() {
	begin_background
	check install meson install -C "$work/build" --no-rebuild
	# It conflicts with Postfix as a package, not as a program.
	(cd "$work" && apt-get download nullmailer && dpkg -x nullmailer_*.deb nullmailer) >/dev/null 2>&1 && export NULLMAILER=$work/nullmailer
	local which=()
	! wanted hardened || which=(-m "not sanitize")
	MODERNAUTH_BUILD=$work/build pytest_run integration "${side_by_side[@]}" "${which[@]}" .
}

# The processes themselves under a checker: valgrind (broker, auth, login processes) with what every login goes through, the
# broker built with sanitizers with everything that is not about speed. "deep" is all of it under valgrind, half an hour.
step_hardened() {
	MODERNAUTH_BUILD=$work/build MODERNAUTH_SANITIZE=valgrind pytest_run "integration under valgrind" -m sanitize \
		test_login.py test_reload.py
	ended_well asan || return 1
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
[ ${#steps[@]} -gt 0 ] || steps=(unit style integration hardened sanitize valgrind analyze)
for step in "${steps[@]}"; do
	say "$step (after $SECONDS s)"
	"step_$step" || count 0 1 "$step"
done

say "result (after $SECONDS s)"
[ ${#unsteady[@]} = 0 ] || printf 'passed only alone: %s\n' "${unsteady[@]}"
[ ${#failures[@]} = 0 ] || printf 'failed: %s\n' "${failures[@]}"
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
