package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func hostname(s streams, args []string) error {
	switch {
	case len(args) > 1 || len(args) == 1 && strings.HasPrefix(args[0], "-"):
		return errUsage
	case len(args) == 1:
		return os.NewSyscallError("sethostname", unix.Sethostname([]byte(args[0])))
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return os.NewSyscallError("uname", err)
	}
	_, err := fmt.Fprintln(s.out, unix.ByteSliceToString(u.Nodename[:]))
	return err
}

func uname(s streams, args []string) error {
	given, operands, err := options(args, "asnrvm")
	if err != nil || len(operands) > 0 {
		return errUsage
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return os.NewSyscallError("uname", err)
	}
	if len(given) == 0 {
		given['s'] = ""
	}
	fields := map[byte][]byte{'s': u.Sysname[:], 'n': u.Nodename[:], 'r': u.Release[:], 'v': u.Version[:], 'm': u.Machine[:]}
	var shown []string
	for _, letter := range []byte("snrvm") {
		if has(given, letter) || has(given, 'a') {
			shown = append(shown, unix.ByteSliceToString(fields[letter]))
		}
	}
	_, err = fmt.Fprintln(s.out, strings.Join(shown, " "))
	return err
}

// mount only tells what is mounted, in mount(8)'s words: making mounts is for the one who makes the container.
func mount(s streams, args []string) error {
	if len(args) > 0 {
		return errUsage
	}
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) >= 4 {
			fmt.Fprintf(s.out, "%s on %s type %s (%s)\n", unescape(f[0]), unescape(f[1]), f[2], f[3])
		}
	}
	return nil
}

// unescape undoes the octal escapes of mount tables (proc_pid_mounts(5)): space, tab, newline and backslash.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

func id(s streams, args []string) error {
	given, operands, err := options(args, "ugn")
	if err != nil || len(operands) > 0 || has(given, 'u') && has(given, 'g') {
		return errUsage
	}
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	number, name := uid, userName
	switch {
	case has(given, 'g'):
		number, name = gid, groupName
	case !has(given, 'u') && has(given, 'n'):
		return errUsage
	case !has(given, 'u'):
		return idLine(s, uid, gid)
	}
	shown := strconv.FormatUint(uint64(number), 10)
	if has(given, 'n') {
		shown = name(number)
	}
	_, err = fmt.Fprintln(s.out, shown)
	return err
}

func idLine(s streams, uid, gid uint32) error {
	groups, err := os.Getgroups()
	if err != nil {
		return err
	}
	if len(groups) == 0 {
		groups = []int{int(gid)}
	}
	var shown []string
	for _, g := range groups {
		shown = append(shown, fmt.Sprintf("%d(%s)", g, groupName(uint32(g))))
	}
	_, err = fmt.Fprintf(s.out, "uid=%d(%s) gid=%d(%s) groups=%s\n", uid, userName(uid), gid, groupName(gid), strings.Join(shown, ","))
	return err
}
