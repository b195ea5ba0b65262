// SPDX-License-Identifier: GPL-2.0
/*
 * Parser of the run description.
 *
 * The first line is "ukl-run 1" and the last one "end", which detects a truncated
 * file. A backslash in a value begins an escape: "\n" is a newline, "\\" a backslash.
 * An unknown key is an error: the file comes from a host of the same version, so
 * something is wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "init.h"

#define MAX_SIZE	(1 << 20)

struct words {
	char **items;
	size_t count;
};

static const char *append(struct words *words, char *word)
{
	char **items = reallocarray(words->items, words->count + 2, sizeof(*items));

	if (!items)
		return "out of memory";
	words->items = items;
	items[words->count++] = word;
	items[words->count] = NULL;
	return NULL;
}

static const char *unescape(char *value)
{
	char *to = value;

	for (char *from = value; *from; from++) {
		if (*from != '\\') {
			*to++ = *from;
			continue;
		}
		from++;
		if (*from == 'n')
			*to++ = '\n';
		else if (*from == '\\')
			*to++ = '\\';
		else
			return "unknown escape";
	}
	*to = '\0';
	return NULL;
}

static const char *number(const char *value, unsigned int *result)
{
	unsigned long parsed;
	char *end;

	if (*value < '0' || *value > '9')
		return "not a number";
	errno = 0;
	parsed = strtoul(value, &end, 10);
	if (errno || *end || parsed > UINT_MAX)
		return "not a number";
	*result = parsed;
	return NULL;
}

static const char *boolean(const char *value, bool *result)
{
	if (strcmp(value, "0") && strcmp(value, "1"))
		return "neither 0 nor 1";
	*result = *value == '1';
	return NULL;
}

/* Somebody has to read what a terminal echoes, so one for input is one for output too. */
static const char *set_streams(struct run *run, char *value)
{
	if (strlen(value) != 3 || !strchr("npt", value[0]) ||
	    strspn(value + 1, "pt") != 2 || (value[0] == 't' && value[1] != 't'))
		return "not the kinds of three streams";
	run->streams = value;
	return NULL;
}

static const char *set_word(char **where, char *value)
{
	if (*where)
		return "given twice";
	*where = value;
	return NULL;
}

/* "TYPE ro|rw SOURCE TARGET"; only the target may have spaces. */
static const char *add_volume(struct run *run, char *value)
{
	struct volume *volumes, *volume;
	char *access;

	volumes = reallocarray(run->volumes, run->volume_count + 1, sizeof(*volumes));
	if (!volumes)
		return "out of memory";
	run->volumes = volumes;
	volume = &volumes[run->volume_count++];
	volume->type = strsep(&value, " ");
	access = strsep(&value, " ");
	volume->source = strsep(&value, " ");
	volume->target = value;
	if (!volume->target || *volume->target != '/')
		return "no absolute target";
	if (strcmp(access, "ro") && strcmp(access, "rw"))
		return "neither ro nor rw";
	volume->read_only = !strcmp(access, "ro");
	return NULL;
}

static const char *add_group(struct run *run, const char *value)
{
	unsigned int parsed;
	const char *wrong = number(value, &parsed);
	gid_t *groups;

	if (wrong)
		return wrong;
	groups = reallocarray(run->groups, run->group_count + 1, sizeof(*groups));
	if (!groups)
		return "out of memory";
	run->groups = groups;
	groups[run->group_count++] = parsed;
	return NULL;
}

static const char *set_signal(int *signal, const char *value)
{
	unsigned int parsed;
	const char *wrong = number(value, &parsed);

	if (wrong)
		return wrong;
	if (parsed < 1 || parsed > 64)	/* _NSIG */
		return "not a signal";
	*signal = parsed;
	return NULL;
}

struct parser {
	struct run *run;
	struct words argv, envp, companion;
	bool ended;
};

static const char *set(struct parser *parser, const char *key, char *value)
{
	struct run *run = parser->run;

	if (!strcmp(key, "nonce"))
		return set_word(&run->nonce, value);
	if (!strcmp(key, "name"))
		return set_word(&run->name, value);
	if (!strcmp(key, "path"))
		return set_word(&run->path, value);
	if (!strcmp(key, "cwd"))
		return set_word(&run->cwd, value);
	if (!strcmp(key, "arg"))
		return append(&parser->argv, value);
	if (!strcmp(key, "env"))
		return strchr(value, '=') ? append(&parser->envp, value) : "no '='";
	if (!strcmp(key, "companion"))
		return append(&parser->companion, value);
	if (!strcmp(key, "mount"))
		return add_volume(run, value);
	if (!strcmp(key, "address"))
		return set_word(&run->address, value);
	if (!strcmp(key, "uid"))
		return number(value, &run->uid);
	if (!strcmp(key, "gid"))
		return number(value, &run->gid);
	if (!strcmp(key, "group"))
		return add_group(run, value);
	if (!strcmp(key, "stop-signal"))
		return set_signal(&run->stop_signal, value);
	if (!strcmp(key, "start"))
		return boolean(value, &run->start);
	if (!strcmp(key, "console-input"))
		return boolean(value, &run->console_input);
	if (!strcmp(key, "streams"))
		return set_streams(run, value);
	if (!strcmp(key, "cores"))
		return boolean(value, &run->cores);
	if (!strcmp(key, "dhcp"))
		return boolean(value, &run->dhcp);
	if (!strcmp(key, "reset"))
		return boolean(value, &run->reset);
	if (!strcmp(key, "interactive"))
		return boolean(value, &run->interactive);
	if (!strcmp(key, "rows"))
		return number(value, &run->rows);
	if (!strcmp(key, "columns"))
		return number(value, &run->columns);
	if (!strcmp(key, "grace-ms"))
		return number(value, &run->grace_ms);
	return "unknown key";
}

static const char *parse_line(struct parser *parser, char *line)
{
	const char *wrong;
	char *value;

	if (!strcmp(line, "end")) {
		parser->ended = true;
		return NULL;
	}
	value = strchr(line, ' ');
	if (!value)
		return "no value";
	*value++ = '\0';
	wrong = unescape(value);
	return wrong ? wrong : set(parser, line, value);
}

static const char *complete(struct parser *parser)
{
	struct run *run = parser->run;
	const char *wrong = NULL;

	if (!parser->ended)
		return "cut short";
	if (!run->name || !*run->name)
		return "no name";
	if (run->start && (!run->path || !parser->argv.count))
		return "nothing to start";
	if (!run->start && !parser->companion.count)
		return "neither application nor companion";
	if (run->interactive && !parser->companion.count)
		return "interactive without companion";
	if (run->streams && parser->companion.count)
		return "streams with a companion";
	/* execve() and the loops over these need arrays, even empty ones. */
	if (!parser->argv.items)
		wrong = append(&parser->argv, NULL);
	if (!wrong && !parser->envp.items)
		wrong = append(&parser->envp, NULL);
	run->argv = parser->argv.items;
	run->envp = parser->envp.items;
	run->companion = parser->companion.items;
	return wrong;
}

/*
 * Parse @text of @size bytes, followed by a NUL, into @run; the strings of @run are
 * parts of @text. Returns what is wrong, or NULL.
 */
const char *run_parse(struct run *run, char *text, size_t size)
{
	struct parser parser = { .run = run };
	char *line = text, *end;
	const char *wrong;
	bool first = true;

	*run = (struct run){ .start = true, .grace_ms = 1500, .stop_signal = SIGTERM };
	if (memchr(text, '\0', size))
		return "NUL byte";
	for (; (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		if (parser.ended)
			return "more behind the end";
		if (first && strcmp(line, "ukl-run 1"))
			return "not a run description of version 1";
		wrong = first ? NULL : parse_line(&parser, line);
		if (wrong)
			return wrong;
		first = false;
	}
	if (*line)
		return "cut short";
	return complete(&parser);
}

/* Read and parse @file. Returns what is wrong, or NULL. */
const char *run_load(struct run *run, const char *file)
{
	char *text = malloc(MAX_SIZE + 1);
	size_t size = 0;
	ssize_t got;
	int fd;

	if (!text)
		return "out of memory";
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return "cannot be opened";
	while ((got = read(fd, text + size, MAX_SIZE - size)) > 0)
		size += got;
	close(fd);
	if (got < 0)
		return "cannot be read";
	if (size == MAX_SIZE)
		return "too large";
	text[size] = '\0';
	return run_parse(run, text, size);
}
