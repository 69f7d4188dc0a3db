package spec

import (
	"slices"
	"strconv"
	"strings"
)

// ParseTmpfs reads --tmpfs DESTINATION[:OPTIONS]; the options are mount(8)'s
// for tmpfs, beside docker's default ones: noexec, nosuid and nodev.
func ParseTmpfs(s string) (Mount, error) {
	target, options, _ := strings.Cut(s, ":")
	m := Mount{Type: typeTmpfs, Target: target}
	if options != "" {
		m.Options = strings.Split(options, ",")
	}
	err := m.check()
	if err == nil {
		_, err = mergeTmpfs(m.Options)
	}
	if err != nil {
		return Mount{}, invalidf("tmpfs %q: %v", s, err)
	}
	return m, nil
}

// mergeTmpfs lays the user's options over the default ones: of those that
// speak of the same thing the last counts, so that exec takes noexec away.
func mergeTmpfs(options []string) ([]string, error) {
	list := slices.Concat([]string{"noexec", "nosuid", "nodev", "rprivate"}, options)
	subjects := make([]string, len(list))
	for i, opt := range list {
		var err error
		if subjects[i], err = tmpfsSubject(opt); err != nil {
			return nil, err
		}
	}
	var out []string
	for i, opt := range list {
		if !slices.Contains(subjects[i+1:], subjects[i]) {
			out = append(out, opt)
		}
	}
	return out, nil
}

// tmpfsSubject checks an option and says what it speaks of.
func tmpfsSubject(opt string) (string, error) {
	switch opt {
	case "ro", "rw":
		return "access", nil
	case "exec", "noexec", "suid", "nosuid", "dev", "nodev":
		return strings.TrimPrefix(opt, "no"), nil
	case "noatime", "relatime", "strictatime":
		return "atime", nil
	case "nodiratime", "nosymfollow":
		return opt, nil
	case "private", "rprivate":
		return "propagation", nil
	case "tmpcopyup":
		return "", invalidf("option %q is not supported: the image's files stay hidden", opt)
	case "notmpcopyup":
		return "tmpcopyup", nil
	}
	key, value, _ := strings.Cut(opt, "=")
	ok := false
	switch key {
	case "size":
		ok = isKernelSize(value, "kmgtpe%")
	case "nr_blocks", "nr_inodes":
		ok = isKernelSize(value, "kmgtpe")
	case "mode":
		n, err := strconv.ParseUint(value, 8, 32)
		ok = err == nil && n <= 0o7777
	case "uid", "gid":
		_, ok = number(value)
	case "mpol":
		ok = value != "" && all(value, func(c byte) bool { return isAlnum(c) || strings.IndexByte(":=-", c) >= 0 })
	default:
		return "", invalidf("option %q: unknown; want size=, mode=, uid=, gid=, nr_inodes=, nr_blocks=, mpol=, or ro, rw, exec, suid, dev and the like", opt)
	}
	if !ok {
		return "", invalidf("option %q: no valid %s", opt, key)
	}
	return key, nil
}

// isKernelSize is what memparse() takes whole: a number, perhaps with one letter.
func isKernelSize(s, units string) bool {
	if s != "" && strings.IndexByte(units, s[len(s)-1]|0x20) >= 0 || strings.HasSuffix(s, "%") && strings.Contains(units, "%") {
		s = s[:len(s)-1]
	}
	return isDigits(s) && len(s) <= 19
}
