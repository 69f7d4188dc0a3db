package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ls writes one name a line always, so -1 changes nothing: output for scripts and people is the same.
func ls(s streams, args []string) error {
	given, names, err := options(args, "la1")
	if err != nil {
		return err
	}
	if len(names) == 0 {
		names = []string{"."}
	}
	var errs []error
	for i, name := range names {
		if len(names) > 1 {
			fmt.Fprintf(s.out, "%s%s:\n", strings.Repeat("\n", min(i, 1)), name)
		}
		errs = append(errs, list(s.out, name, has(given, 'l'), has(given, 'a')))
	}
	return errors.Join(errs...)
}

func list(w io.Writer, name string, long, all bool) error {
	look := os.Stat
	if long { // a link is then shown as one
		look = os.Lstat
	}
	info, err := look(name)
	if err != nil || !info.IsDir() {
		return listOne(w, name, name, long)
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return err
	}
	var errs []error
	for _, dots := range []string{".", ".."} {
		if all {
			errs = append(errs, listOne(w, filepath.Join(name, dots), dots, long))
		}
	}
	for _, e := range entries {
		if all || !strings.HasPrefix(e.Name(), ".") {
			errs = append(errs, listOne(w, filepath.Join(name, e.Name()), e.Name(), long))
		}
	}
	return errors.Join(errs...)
}

func listOne(w io.Writer, path, shown string, long bool) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	if !long {
		_, err := fmt.Fprintln(w, shown)
		return err
	}
	size := strconv.FormatInt(st.Size, 10)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK, unix.S_IFCHR:
		size = fmt.Sprintf("%d, %d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		shown += " -> " + target
	}
	_, err := fmt.Fprintf(w, "%s %3d %-8s %-8s %10s %s %s\n", modeString(st.Mode), st.Nlink,
		userName(st.Uid), groupName(st.Gid), size, timeString(st.Mtim), shown)
	return err
}

func stat(s streams, args []string) error {
	return operate(args, "", func(_ map[byte]string, name string) error {
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return &os.PathError{Op: "lstat", Path: name, Err: err}
		}
		_, err := fmt.Fprintf(s.out, "%s: %s %04o uid=%d(%s) gid=%d(%s) links=%d size=%d mtime=%s\n", name, modeString(st.Mode),
			st.Mode&0o7777, st.Uid, userName(st.Uid), st.Gid, groupName(st.Gid), st.Nlink, st.Size, timeString(st.Mtim))
		return err
	})
}

func timeString(t unix.Timespec) string {
	return time.Unix(t.Unix()).UTC().Format("2006-01-02 15:04")
}

// modeString writes a mode as ls does; fs.FileMode has letters of its own for setuid and its friends.
func modeString(mode uint32) string {
	kinds := map[uint32]byte{unix.S_IFDIR: 'd', unix.S_IFLNK: 'l', unix.S_IFCHR: 'c', unix.S_IFBLK: 'b',
		unix.S_IFIFO: 'p', unix.S_IFSOCK: 's', unix.S_IFREG: '-'}
	b := []byte{cmp.Or(kinds[mode&unix.S_IFMT], '?')}
	for i, letter := range []byte("rwxrwxrwx") {
		if mode&(0o400>>i) == 0 {
			letter = '-'
		}
		b = append(b, letter)
	}
	for _, special := range []struct {
		bit       uint32
		at        int
		with, not byte
	}{{unix.S_ISUID, 3, 's', 'S'}, {unix.S_ISGID, 6, 's', 'S'}, {unix.S_ISVTX, 9, 't', 'T'}} {
		if mode&special.bit == 0 {
			continue
		}
		if b[special.at] == 'x' {
			b[special.at] = special.with
		} else {
			b[special.at] = special.not
		}
	}
	return string(b)
}

func userName(uid uint32) string  { return nameIn("/etc/passwd", uid) }
func groupName(gid uint32) string { return nameIn("/etc/group", gid) }

// nameIn finds the name of an id in a file of name:x:id:… lines, and is content with the number.
func nameIn(file string, id uint32) string {
	number := strconv.FormatUint(uint64(id), 10)
	// An image may have a fifo there, which nobody writes to.
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return number
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return number
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Split(lines.Text(), ":"); len(fields) > 2 && fields[2] == number && fields[0] != "" {
			return fields[0]
		}
	}
	return number
}
