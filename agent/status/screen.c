/*
 * screen.c
 *		Text on standard output that is drawn again in its place.
 *
 * The cursor rests below the text, so that a shell goes on there if we are ended.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent/status/draw.h"
#include "agent/status/screen.h"

static int	lines_drawn;

bool
screen_is_terminal(void)
{
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

static struct winsize
screen_size(void)
{
	struct winsize size = {0};

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
		size.ws_col = 80;
	if (size.ws_row == 0)
		size.ws_row = 24;
	return size;
}

int
screen_height(void)
{
	return screen_size().ws_row;
}

void
screen_clear(void)
{
	if (lines_drawn > 0)
		printf("\033[%dA\r\033[J", lines_drawn);
	lines_drawn = 0;
	fflush(stdout);
}

/* A line that is as wide as the terminal is ended by it, or not; ours are shorter. */
void
screen_draw(const char *text)
{
	struct winsize size = screen_size();
	Text		cut = {0};
	int			above;			/* lines for which there is no room: the cursor could not go back to them */

	draw_cut(&cut, text, size.ws_col - 1);
	above = draw_lines(&cut) - (size.ws_row - 1);
	if (lines_drawn > 0)
		printf("\033[%dA\r", lines_drawn);
	lines_drawn = 0;
	for (char *line = cut.data; line && *line;)
	{
		size_t		length = strcspn(line, "\n");

		if (above-- <= 0)
		{
			printf("%.*s\033[K\n", (int) length, line);
			lines_drawn++;
		}
		line += length + (line[length] == '\n');
	}
	printf("\033[J");
	fflush(stdout);
	free(cut.data);
}
