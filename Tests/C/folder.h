/* A folder for the files of one test program.
 *
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first lines of a program that includes this define _POSIX_C_SOURCE 200809L.
 */
#ifndef FOLDER_H
#define FOLDER_H

#include "check.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct folder {
    char name[512];
    char path[1024];
} folder;

static inline void folder_create(folder *f)
{
    const char *parent = getenv("TMPDIR");
    snprintf(f->name, sizeof f->name, "%s/layerwise-XXXXXX", parent != NULL ? parent : "/tmp");
    CHECK(mkdtemp(f->name) != NULL);
}

/** The path of a file in it, until the next call. */
static inline const char *folder_path(folder *f, const char *name)
{
    snprintf(f->path, sizeof f->path, "%s/%s", f->name, name);
    return f->path;
}

/** Removes it with its files, of which there are as many as expected. */
static inline void folder_remove(folder *f, int expected)
{
    DIR *listing = opendir(f->name);
    int found = 0;
    CHECK(listing != NULL);
    for (const struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            found += 1;
            CHECK(remove(folder_path(f, entry->d_name)) == 0);
        }
    }
    closedir(listing);
    CHECK(found == expected);
    CHECK(rmdir(f->name) == 0);
}

#endif
