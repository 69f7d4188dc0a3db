package manifest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// entry is what one name stands for.
type entry struct {
	path         string // "/" or "/a/b"
	typ          byte
	mode         uint32
	uid, gid     uint32
	sec, nsec    int64
	size         int64  // of a file
	sum          string // of a file, in hexadecimal
	target       string // of a symbolic link
	major, minor uint32 // of a device
	link         string // first path of the same file
	xattrs       []xattr
	content      *content // of a file that is walked; sum comes of it
}

type xattr struct{ name, value string } // value as in the manifest

// append formats e. It is the only form there is: what parse returns, append makes
// of it again.
func (e *entry) append(b []byte) []byte {
	b = escape(b, e.path, false)
	b = append(b, ' ', e.typ, ' ')
	b = append(b, fmt.Sprintf("%04o", e.mode)...)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(e.uid), 10)
	b = append(b, ':')
	b = strconv.AppendUint(b, uint64(e.gid), 10)
	b = append(b, ' ')
	b = append(b, e.time()...)
	switch e.typ {
	case 'f':
		b = strconv.AppendInt(append(b, " size="...), e.size, 10)
		b = append(append(b, " sha256="...), e.sum...)
	case 'l':
		b = escape(append(b, " target="...), e.target, false)
	case 'c', 'b':
		b = append(append(b, " rdev="...), e.device()...)
	}
	if e.link != "" {
		b = escape(append(b, " link="...), e.link, false)
	}
	for _, x := range e.xattrs {
		b = escape(append(b, " xattr."...), x.name, true)
		b = append(append(b, '='), x.value...)
	}
	return b
}

func (e *entry) time() string   { return fmt.Sprintf("%d.%09d", e.sec, e.nsec) }
func (e *entry) device() string { return fmt.Sprintf("%d:%d", e.major, e.minor) }

const hexDigits = "0123456789abcdef"

func escape(b []byte, s string, key bool) []byte {
	for i := range len(s) {
		if c := s[i]; c > ' ' && c < 0x7f && c != '\\' && (c != '=' || !key) {
			b = append(b, c)
		} else {
			b = append(b, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return b
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for s != "" {
		if s[0] != '\\' {
			b.WriteByte(s[0])
			s = s[1:]
			continue
		}
		if len(s) < 4 || s[1] != 'x' {
			return "", errors.New("bad escape")
		}
		c, err := strconv.ParseUint(s[2:4], 16, 8)
		if err != nil {
			return "", err
		}
		b.WriteByte(byte(c))
		s = s[4:]
	}
	return b.String(), nil
}

// parse reads a line. Whatever append would write otherwise is refused.
func parse(line string) (*entry, error) {
	fields := strings.Split(line, " ")
	if len(fields) < 5 {
		return nil, fmt.Errorf("line %q is too short", clip(line))
	}
	e := &entry{}
	err := e.parseCommon(fields)
	for _, f := range fields[5:] {
		if err == nil {
			err = e.parseField(f)
		}
	}
	if err == nil && string(e.append(nil)) != line {
		err = errors.New("it is not in canonical form")
	}
	if err != nil {
		return nil, fmt.Errorf("line %q: %w", clip(line), err)
	}
	return e, nil
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

func (e *entry) parseCommon(fields []string) (err error) {
	if e.path, err = unescape(fields[0]); err != nil {
		return err
	}
	if !strings.HasPrefix(e.path, "/") || path.Clean(e.path) != e.path || strings.Contains(e.path, "\x00") {
		return errors.New("bad path")
	}
	if len(fields[1]) != 1 || !strings.Contains("fdlcbps", fields[1]) {
		return errors.New("bad type")
	}
	e.typ = fields[1][0]
	mode, err := strconv.ParseUint(fields[2], 8, 12)
	if err != nil {
		return err
	}
	e.mode = uint32(mode)
	if e.uid, e.gid, err = pair(fields[3]); err != nil {
		return err
	}
	sec, nsec, _ := strings.Cut(fields[4], ".")
	if e.sec, err = strconv.ParseInt(sec, 10, 64); err != nil {
		return err
	}
	e.nsec, err = strconv.ParseInt(nsec, 10, 64)
	if err == nil && (e.nsec < 0 || e.nsec >= 1e9) {
		err = errors.New("bad time")
	}
	return err
}

func pair(s string) (x, y uint32, err error) {
	first, second, _ := strings.Cut(s, ":")
	a, err := strconv.ParseUint(first, 10, 32)
	if err != nil {
		return 0, 0, err
	}
	b, err := strconv.ParseUint(second, 10, 32)
	return uint32(a), uint32(b), err
}

func (e *entry) parseField(f string) (err error) {
	key, value, _ := strings.Cut(f, "=")
	switch key {
	case "size":
		e.size, err = strconv.ParseInt(value, 10, 64)
		if err == nil && e.size < 0 {
			err = errors.New("bad size")
		}
	case "sha256":
		e.sum, err = value, isHash(value)
	case "target":
		e.target, err = unescape(value)
	case "rdev":
		e.major, e.minor, err = pair(value)
	case "link":
		e.link, err = unescape(value)
	default:
		name, ok := strings.CutPrefix(key, "xattr.")
		if !ok {
			return fmt.Errorf("unknown field %q", clip(key))
		}
		return e.parseXattr(name, value)
	}
	return err
}

func (e *entry) parseXattr(name, value string) error {
	name, err := unescape(name)
	if err != nil {
		return err
	}
	if n := len(e.xattrs); n > 0 && e.xattrs[n-1].name >= name {
		return errors.New("attributes are out of order")
	}
	if sum, ok := strings.CutPrefix(value, "sha256:"); ok {
		err = isHash(sum)
	} else if b, e := hex.DecodeString(value); e != nil || len(b) > plainXattr || hex.EncodeToString(b) != value {
		err = errors.New("bad value of an attribute")
	}
	e.xattrs = append(e.xattrs, xattr{name, value})
	return err
}

func isHash(s string) error {
	if b, err := hex.DecodeString(s); err != nil || len(b) != 32 || hex.EncodeToString(b) != s {
		return errors.New("bad hash")
	}
	return nil
}

// compare orders paths as a walk meets them: the slash comes before every other
// byte, so that nothing is between a directory and what is in it.
func compare(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if x, y := a[i], b[i]; x != y {
			switch {
			case x == '/':
				return -1
			case y == '/':
				return 1
			}
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

// below says whether path is top or in it.
func below(path, top string) bool {
	rest, ok := strings.CutPrefix(path, top)
	return ok && (rest == "" || rest[0] == '/' || top == "/")
}
