package spec

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// WithUser gives the image's files with a line for a user and a group that
// have none, for --passwd: a program that asks for its own name gets one. The
// lines are podman's. A file which the image lacks stays lacking.
func (f Files) WithUser(u specs.User) Files {
	if f.Passwd != nil && !hasID(f.Passwd, u.UID) {
		f.Passwd = addLine(f.Passwd, fmt.Sprintf("%d:*:%d:%d:container user:/:/bin/sh", u.UID, u.UID, u.GID))
	}
	if f.Group != nil && !hasID(f.Group, u.GID) {
		f.Group = addLine(f.Group, fmt.Sprintf("%d:x:%d:", u.GID, u.GID))
	}
	return f
}

// hasID looks into the third field, which has the number in both files.
func hasID(file []byte, id uint32) bool {
	for fields := range records(file) {
		if n, ok := number(field(fields, 2)); ok && n == id {
			return true
		}
	}
	return false
}

// addLine leaves the file it is given as it is.
func addLine(file []byte, line string) []byte {
	text := string(file)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return []byte(text + line + "\n")
}

// ParseUmask reads --umask, an octal number.
func ParseUmask(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o777 {
		return 0, invalidf("umask %q: want an octal number up to 0777, as in 0022", s)
	}
	return uint32(n), nil
}

// ParseZone reads --tz, a zone's name or "local", and gives the host's file
// that describes it.
func ParseZone(s string) (string, error) {
	if s == "local" {
		return zonePath, nil
	}
	ok := isLocal(s) && s == path.Clean(s) && s[0] != '.' &&
		all(s, func(c byte) bool { return isAlnum(c) || strings.IndexByte("_-+/", c) >= 0 })
	if !ok {
		return "", invalidf("time zone %q: want a name, as in Europe/Berlin or UTC, or local", s)
	}
	return "/usr/share/zoneinfo/" + s, nil
}
