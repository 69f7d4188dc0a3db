package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFiles is one story, step by step, in one directory.
func TestFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, step := range []struct {
		command, want, errors string
		status                int
	}{
		{command: "mkdir d", want: ""},
		{command: "mkdir d", errors: "mkdir: mkdir d: file exists\n", status: 1},
		{command: "mkdir -p d/e/f"},
		{command: "touch d/one d/.hidden d"},
		{command: "ls d", want: "e\none\n"},
		{command: "ls -a d", want: ".\n..\n.hidden\ne\none\n"},
		{command: "ls d/e none d", want: "d/e:\nf\n\nnone:\n\nd:\ne\none\n", status: 1, errors: "ls: lstat none: no such file or directory\n"},
		{command: "ln -s one d/sym"},
		{command: "ln -s one d/sym", status: 1, errors: "ln: symlink one d/sym: file exists\n"},
		{command: "ln -sf two d/sym"},
		{command: "ln d/one d/two"},
		{command: "ln d/one", status: 2, errors: "usage: ln [-sf] TARGET LINK\n"},
		{command: "ls -1 d", want: "e\none\nsym\ntwo\n"},
		{command: "rm d", status: 1, errors: "rm: d: is a directory\n"},
		{command: "rm d/two none d/sym", status: 1, errors: "rm: lstat none: no such file or directory\n"},
		{command: "rm -f none"},
		{command: "rm -r d/e"},
		{command: "ls d", want: "one\n"},
		{command: "rm", status: 2, errors: "usage: rm [-rf] FILE...\n"},
		{command: "rm -rf d"},
		{command: "ls -a", want: ".\n..\n"},
	} {
		out, errs, status := box("", strings.Fields(step.command)...)
		if out != step.want || errs != step.errors || status != step.status {
			t.Fatalf("%s: status %d, output %q, errors %q", step.command, status, out, errs)
		}
	}
}

func TestLongList(t *testing.T) {
	t.Chdir(t.TempDir())
	box("", "touch", "file")
	box("", "ln", "-s", "file", "link")
	if err := os.Chmod("file", 0o750|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	out, errs, _ := box("", "ls", "-l")
	want := regexp.MustCompile(`^-rwsr-x---   1 \S+ +\S+ +0 20\d\d-\d\d-\d\d \d\d:\d\d file
lrwxrwxrwx   1 \S+ +\S+ +4 20\d\d-\d\d-\d\d \d\d:\d\d link -> file
$`)
	if !want.MatchString(out) || errs != "" {
		t.Errorf("ls -l: %q, errors %q", out, errs)
	}
	if out, _, _ := box("", "ls", "-l", "/dev/null"); !strings.Contains(out, " 1, 3 ") || out[0] != 'c' {
		t.Errorf("ls -l /dev/null: %q", out)
	}
	if out, _, _ := box("", "stat", "file"); !strings.HasPrefix(out, "file: -rwsr-x--- 4750 uid=") {
		t.Errorf("stat: %q", out)
	}
}

func TestModeString(t *testing.T) {
	for mode, want := range map[uint32]string{
		unix.S_IFDIR | 0o1777: "drwxrwxrwt", unix.S_IFDIR | 0o1776: "drwxrwxrwT", unix.S_IFREG | 0o4755: "-rwsr-xr-x",
		unix.S_IFREG | 0o2644: "-rw-r-Sr--", unix.S_IFREG | 0o6000: "---S--S---", unix.S_IFBLK | 0o660: "brw-rw----",
		unix.S_IFIFO | 0o600: "prw-------", unix.S_IFSOCK: "s---------", 0o777: "?rwxrwxrwx",
	} {
		if got := modeString(mode); got != want {
			t.Errorf("%o: %s, want %s", mode, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	file := t.TempDir() + "/passwd"
	os.WriteFile(file, []byte("bad\nroot:x:0:0:root:/root:/bin/sh\ndemo:x:1000:1000::/:\n:x:7:\n"), 0o600)
	for id, want := range map[uint32]string{0: "root", 1000: "demo", 7: "7", 8: "8"} {
		if got := nameIn(file, id); got != want {
			t.Errorf("%d: %q, want %q", id, got, want)
		}
	}
}
