/* SPDX-License-Identifier: MIT */
/* What comes from outside means nothing to a browser, and deceives no reader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "doveadm/html.h"

static void assert_text(const char *text, const char *expected)
{
	char *out = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&out, &size);

	html_text(file, text);
	assert_int_equal(fclose(file), 0);
	assert_string_equal(out, expected);
	free(out);
}

static void markup_is_text(void **state)
{
	assert_text("<script>alert('x')</script>", "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;");
	assert_text("\" onload=`x` &amp;", "&quot; onload=&#96;x&#96; &amp;amp;");
	assert_text("]]> --> <!--", "]]&gt; --&gt; &lt;!--");
	assert_text("", "");
}

static void letters_stay_letters(void **state)
{
	assert_text("J\xc3\xbcrgen \xd7\x90\xd7\x91 \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x93\xa7", "J\xc3\xbcrgen \xd7\x90\xd7\x91 \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x93\xa7");
	/* "e" with two marks; a fourth one is no language any more. */
	assert_text("e\xcc\x81\xcc\x82", "e\xcc\x81\xcc\x82");
	assert_text("e\xcc\x81\xcc\x81\xcc\x81\xcc\x81x", "e\xcc\x81\xcc\x81\xcc\x81[U+0301]x");
}

static void what_nobody_sees_is_spelled_out(void **state)
{
	static const struct {
		const char *text, *shown;
	} cases[] = {
		{ "\xe2\x80\xae" "gnp.exe", "[U+202E]gnp.exe" }, { "\xe2\x81\xa6x\xe2\x81\xa9", "[U+2066]x[U+2069]" },
		{ "a\xe2\x80\x8b" "b", "a[U+200B]b" }, { "\xc2\xad", "[U+00AD]" }, { "\xef\xbb\xbf", "[U+FEFF]" },
		{ "\x1b[31m\n\t\x7f", "[U+001B][31m[U+000A][U+0009][U+007F]" }, { "\xc2\x9b", "[U+009B]" },
		{ "\xf3\xa0\x81\x81", "[U+E0041]" }, { "\xef\xbf\xbf", "[U+FFFF]" }, { "\xe2\x80\xa8", "[U+2028]" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_text(cases[i].text, cases[i].shown);
}

static void broken_utf8_is_replaced(void **state)
{
#define NOT_ONE "\xef\xbf\xbd"
	assert_text("\xff", NOT_ONE);
	assert_text("a\xc3", "a" NOT_ONE);
	assert_text("\xe2\x80", NOT_ONE NOT_ONE);
	assert_text("\xc0\xbc", NOT_ONE NOT_ONE);                       /* "<", longer than it needs to be */
	assert_text("\xe0\x80\xbc", NOT_ONE NOT_ONE NOT_ONE);
	assert_text("\xed\xa0\x80", NOT_ONE NOT_ONE NOT_ONE);           /* half of a surrogate pair */
	assert_text("\xf4\x90\x80\x80", NOT_ONE NOT_ONE NOT_ONE NOT_ONE);
	assert_text("\xc3<", NOT_ONE "&lt;");
}

static void numbers_are_for_people(void **state)
{
	static const struct {
		int64_t num;
		const char *text;
	} cases[] = {
		{ 0, "0" }, { 999, "999" }, { 1000, "1,000" }, { 123456, "123,456" }, { 1234567, "1,234,567" }, { -12345, "-12,345" },
		{ INT64_MAX, "9,223,372,036,854,775,807" }, { INT64_MIN, "-9,223,372,036,854,775,808" },
	};
	char text[HTML_NUM_SIZE];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(html_num(cases[i].num, text), cases[i].text);
}

static void only_what_is_put_in_is_escaped(void **state)
{
	char *out = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&out, &size);

	html_put(file, "<b title=\"%s\" width=\"%.2f%%\">%lld %u %d</b>", "\"><i>", 12.345, 65536LL, 70000u, -3);
	assert_int_equal(fclose(file), 0);
	assert_string_equal(out, "<b title=\"&quot;&gt;&lt;i&gt;\" width=\"12.35%\">65,536 70000 -3</b>");
	free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(markup_is_text),
		cmocka_unit_test(letters_stay_letters),
		cmocka_unit_test(what_nobody_sees_is_spelled_out),
		cmocka_unit_test(broken_utf8_is_replaced),
		cmocka_unit_test(numbers_are_for_people),
		cmocka_unit_test(only_what_is_put_in_is_escaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
