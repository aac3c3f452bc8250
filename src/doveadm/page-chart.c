/* SPDX-License-Identifier: MIT */
#include "doveadm/page-chart.h"

#include "doveadm/html.h"

#include <string.h>

#define PLOT_TOP 8u
#define PLOT_HEIGHT 200u
#define PLOT_BOTTOM (PLOT_TOP + PLOT_HEIGHT)
#define AXIS_HEIGHT 26u
#define LABELS_MAX 5u
#define ROW_HEIGHT 52u
#define BAR_HEIGHT 18u

static int64_t sum_of(const struct chart *chart, const struct chart_bar *bar)
{
	int64_t sum = 0;

	for (unsigned int s = 0; s < chart->series_count; s++)
		sum += bar->values[s];
	return sum;
}

static int64_t largest(const struct chart *chart)
{
	int64_t max = 0;

	for (unsigned int i = 0; i < chart->bars_count; i++) {
		if (sum_of(chart, &chart->bars[i]) > max)
			max = sum_of(chart, &chart->bars[i]);
	}
	return max;
}

static bool has_any(const struct chart *chart, unsigned int series)
{
	for (unsigned int i = 0; i < chart->bars_count; i++) {
		if (chart->bars[i].values[series] > 0)
			return true;
	}
	return false;
}

static const char *unit(const struct chart *chart, int64_t count)
{
	return count == 1 ? chart->unit_one : chart->unit;
}

/* -- around a chart ----------------------------------------------------------------------------------------- */

static void legend(FILE *file, const struct chart *chart)
{
	html_put(file, "<figure class=\"chart\">\n<figcaption>%s</figcaption>\n<ul class=\"legend\">", chart->title);
	for (unsigned int s = 0; s < chart->series_count; s++) {
		if (has_any(chart, s))
			html_put(file, "<li><svg class=\"key\" width=\"12\" height=\"12\" aria-hidden=\"true\"><rect class=\"%s\" width=\"12\" "
				 "height=\"12\" rx=\"2\"/></svg>%s</li>", chart->series[s].colour, chart->series[s].name);
	}
	html_put(file, "</ul>\n");
}

static void begin(FILE *file, const struct chart *chart, unsigned int height)
{
	html_put(file, "<svg width=\"100%%\" height=\"%u\" role=\"img\" aria-labelledby=\"%s-t %s-d\">"
		 "<title id=\"%s-t\">%s</title><desc id=\"%s-d\">%s</desc>\n", height, chart->id, chart->id, chart->id, chart->title,
		 chart->id, chart->description);
}

static void table(FILE *file, const struct chart *chart)
{
	html_put(file, "<details><summary>The numbers behind this chart</summary>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
		 "aria-labelledby=\"%s-c\"><table><caption id=\"%s-c\">%s (%s)</caption>\n<thead><tr><th scope=\"col\">%s</th>", chart->id,
		 chart->id, chart->title, chart->unit, chart->first_column);
	for (unsigned int s = 0; s < chart->series_count; s++)
		html_put(file, "<th scope=\"col\" class=\"n\">%s</th>", chart->series[s].name);
	html_put(file, "<th scope=\"col\" class=\"n\">Together</th></tr></thead>\n<tbody>\n");
	for (unsigned int i = 0; i < chart->bars_count; i++) {
		html_put(file, "<tr><th scope=\"row\">%s</th>", chart->bars[i].longer);
		for (unsigned int s = 0; s < chart->series_count; s++)
			html_put(file, "<td class=\"n\">%lld</td>", (long long)chart->bars[i].values[s]);
		html_put(file, "<td class=\"n\">%lld</td></tr>\n", (long long)sum_of(chart, &chart->bars[i]));
	}
	html_put(file, "</tbody></table></div></details>\n</figure>\n");
}

/* -- columns ------------------------------------------------------------------------------------------------ */

/* 1, 2 or 5 times a power of ten, so that three to six of them reach max. */
static int64_t step_of(int64_t max)
{
	int64_t step = 1;

	for (;;) {
		if (max <= 5 * step)
			return step;
		if (max <= 10 * step)
			return 2 * step;
		if (max <= 25 * step)
			return 5 * step;
		step *= 10;
	}
}

static unsigned int pixels(int64_t value, int64_t top)
{
	return (unsigned int)((double)value * PLOT_HEIGHT / (double)top + 0.5);
}

static void grid(FILE *file, int64_t step, int64_t top)
{
	for (int64_t value = 0; value <= top; value += step)
		html_put(file, "<line class=\"%s\" x1=\"0\" x2=\"100%%\" y1=\"%u\" y2=\"%u\"/>", value == 0 ? "axis" : "grid",
			 PLOT_BOTTOM - pixels(value, top), PLOT_BOTTOM - pixels(value, top));
}

/* Beside the plot, as wide as its numbers are. */
static void axis(FILE *file, int64_t step, int64_t top)
{
	char text[HTML_NUM_SIZE];
	unsigned int width = 8 * (unsigned int)strlen(html_num(top, text)) + 8;

	html_put(file, "<svg width=\"%u\" height=\"%u\" aria-hidden=\"true\">", width, PLOT_BOTTOM + AXIS_HEIGHT);
	for (int64_t value = 0; value <= top; value += step)
		html_put(file, "<text text-anchor=\"end\" x=\"%u\" y=\"%u\">%lld</text>", width - 8, PLOT_BOTTOM - pixels(value, top) + 4,
			 (long long)value);
	html_put(file, "</svg>\n");
}

static void column(FILE *file, const struct chart *chart, unsigned int number, int64_t top)
{
	const struct chart_bar *bar = &chart->bars[number];
	double slot = 100.0 / chart->bars_count, width = slot * (chart->bars_count > 10 ? 0.78 : 0.5);
	unsigned int y = PLOT_BOTTOM;
	int64_t sum = 0;

	for (unsigned int s = 0; s < chart->series_count; s++) {
		unsigned int height;

		sum += bar->values[s];
		/* From the sum, so that the heights add up. What there is can be seen, be it ever so little. */
		height = y - (PLOT_BOTTOM - pixels(sum, top));
		if (bar->values[s] == 0)
			continue;
		if (height < 1)
			height = 1;
		html_put(file, "<rect class=\"%s\" x=\"%.2f%%\" width=\"%.2f%%\" y=\"%u\" height=\"%u\"><title>%s: %s, %lld %s</title></rect>",
			 chart->series[s].colour, slot * number + (slot - width) / 2, width, y - height,
			 height > 3 && y < PLOT_BOTTOM ? height - 1 : height, bar->longer, chart->series[s].name,
			 (long long)bar->values[s], unit(chart, bar->values[s]));
		y -= height;
	}
}

static void column_labels(FILE *file, const struct chart *chart)
{
	unsigned int count = chart->bars_count < LABELS_MAX ? chart->bars_count : LABELS_MAX;

	for (unsigned int i = 0; i < count; i++) {
		unsigned int number = count == 1 ? 0 : i * (chart->bars_count - 1) / (count - 1);
		bool few = chart->bars_count <= LABELS_MAX;
		const char *anchor = few ? "middle" : i == 0 ? "start" : i == count - 1 ? "end" : "middle";
		double x = few || (i > 0 && i < count - 1) ? 100.0 * (number + 0.5) / chart->bars_count : i == 0 ? 0 : 100;

		html_put(file, "<text class=\"label\" text-anchor=\"%s\" x=\"%.2f%%\" y=\"%u\">%s</text>", anchor, x,
			 PLOT_BOTTOM + 18, chart->bars[number].label);
	}
}

void chart_columns(FILE *file, const struct chart *chart)
{
	int64_t max = largest(chart), step = step_of(max > 0 ? max : 1), top = (max + step - 1) / step * step;

	if (top == 0)
		top = step;
	legend(file, chart);
	html_put(file, "<div class=\"plot\">");
	axis(file, step, top);
	begin(file, chart, PLOT_BOTTOM + AXIS_HEIGHT);
	grid(file, step, top);
	html_put(file, "\n");
	for (unsigned int i = 0; i < chart->bars_count; i++) {
		column(file, chart, i, top);
		html_put(file, "\n");
	}
	column_labels(file, chart);
	html_put(file, "\n</svg></div>\n");
	table(file, chart);
}

/* -- rows --------------------------------------------------------------------------------------------------- */

static void row(FILE *file, const struct chart *chart, unsigned int number, int64_t max)
{
	const struct chart_bar *bar = &chart->bars[number];
	unsigned int y = number * ROW_HEIGHT;
	double x = 0;

	html_put(file, "<text class=\"name\" x=\"0\" y=\"%u\">%s<tspan class=\"value\" dx=\"8\">%lld %s</tspan></text>", y + 16, bar->label,
		 (long long)sum_of(chart, bar), unit(chart, sum_of(chart, bar)));
	html_put(file, "<rect class=\"track\" x=\"0\" y=\"%u\" width=\"100%%\" height=\"%u\" rx=\"2\"/>", y + 24, BAR_HEIGHT);
	for (unsigned int s = 0; s < chart->series_count; s++) {
		double width = 100.0 * (double)bar->values[s] / (double)max;

		if (bar->values[s] == 0)
			continue;
		if (width < 0.4)
			width = 0.4;
		html_put(file, "<rect class=\"%s part\" x=\"%.2f%%\" y=\"%u\" width=\"%.2f%%\" height=\"%u\"><title>%s: %s, %lld %s</title></rect>",
			 chart->series[s].colour, x, y + 24, width, BAR_HEIGHT, bar->longer, chart->series[s].name,
			 (long long)bar->values[s], unit(chart, bar->values[s]));
		x += width;
	}
	html_put(file, "\n");
}

void chart_rows(FILE *file, const struct chart *chart)
{
	int64_t max = largest(chart);

	legend(file, chart);
	begin(file, chart, chart->bars_count * ROW_HEIGHT);
	for (unsigned int i = 0; i < chart->bars_count; i++)
		row(file, chart, i, max > 0 ? max : 1);
	html_put(file, "</svg>\n");
	table(file, chart);
}
