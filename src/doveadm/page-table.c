/* SPDX-License-Identifier: MIT */
#include "doveadm/page-private.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

void page_table_begin(const struct page *page, const char *id, const char *caption, const char *const *columns)
{
	html_put(page->file, "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"%s\"><table>"
		 "<caption id=\"%s\">%s</caption>\n<thead><tr>", id, id, caption);
	for (; *columns != NULL; columns++) {
		if (**columns == '#')
			html_put(page->file, "<th scope=\"col\" class=\"n\">%s</th>", *columns + 1);
		else if (**columns == '-')
			html_put(page->file, "<td class=\"bar\" aria-hidden=\"true\"></td>");
		else
			html_put(page->file, "<th scope=\"col\">%s</th>", *columns);
	}
	html_put(page->file, "</tr></thead>\n<tbody>\n");
}

void page_table_end(const struct page *page)
{
	html_put(page->file, "</tbody></table></div>\n");
}

void page_more(const struct page *page, int64_t total, int64_t shown, const char *command)
{
	if (total > shown)
		html_put(page->file, "<p class=\"more\">… and %lld more. All of them: <code>%s</code></p>\n", (long long)(total - shown),
			 command);
}

void page_account_head(const struct page *page, const char *user)
{
	size_t local = strcspn(user, "@");
	char *copy = mauth_strndup(user, local);

	html_put(page->file, "<th scope=\"row\"><bdi>%s<wbr>%s</bdi></th>", copy, user + local);
	free(copy);
}

void page_bar_cell(const struct page *page, int64_t value, int64_t max)
{
	double width = max > 0 ? 100.0 * (double)value / (double)max : 0;

	html_put(page->file, "<td class=\"bar\" aria-hidden=\"true\"><svg width=\"100%%\" height=\"8\" aria-hidden=\"true\">"
		 "<rect class=\"bar-fill\" width=\"%.2f%%\" height=\"8\" rx=\"2\"/></svg></td>", width < 1 ? 1 : width);
}
