package image

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/umiak/umiak/cache/digest"
)

// What docker means when a reference does not say. index.docker.io is an older
// name of the same registry, which its own config files still use.
const (
	defaultRegistry = "docker.io"
	legacyRegistry  = "index.docker.io"
	officialPrefix  = "library/"
	defaultTag      = "latest"
)

// The grammar's limits (github.com/distribution/reference).
const (
	maxPath = 255
	maxHost = 255
	maxTag  = 128
)

// A Reference names an image in a registry. Tag, Digest or both are set; the
// digest decides when both are.
type Reference struct {
	Registry   string // host or host:port
	Repository string // library/alpine
	Tag        string
	Digest     digest.Digest
}

// Parse reads a reference as docker does: docker.io, library/ and :latest are
// filled in. It is written by hand because regular expressions and the modules
// that use them are initialised at every start of the program, used or not.
func Parse(s string) (Reference, error) {
	r, err := parse(s)
	if err != nil {
		return Reference{}, fmt.Errorf("invalid image name %q: %w", s, err)
	}
	return r, nil
}

func parse(s string) (Reference, error) {
	switch {
	case s == "":
		return Reference{}, errors.New("it is empty")
	case strings.Contains(s, "://"):
		return Reference{}, errors.New("it looks like a URL; leave out what stands before the host")
	case len(s) == 64 && !strings.ContainsFunc(s, notHex):
		return Reference{}, errors.New("64 hexadecimal digits are an id, not a name; write NAME@sha256:…")
	}
	var r Reference
	name, dgst, pinned := strings.Cut(s, "@")
	if pinned {
		d, err := digest.Parse(dgst)
		if err != nil {
			return Reference{}, err
		}
		r.Digest = d
	}
	// A colon after the last slash starts a tag, one before it a port.
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		if err := checkTag(name[i+1:]); err != nil {
			return Reference{}, err
		}
		name, r.Tag = name[:i], name[i+1:]
	} else if !pinned {
		r.Tag = defaultTag
	}
	r.Registry, r.Repository = splitHost(name)
	if err := checkHost(r.Registry); err != nil {
		return Reference{}, err
	}
	return r, checkPath(r.Repository)
}

// splitHost decides whether what stands before the first slash is a host.
func splitHost(name string) (host, path string) {
	host, path, found := strings.Cut(name, "/")
	if !found || host != "localhost" && !strings.ContainsAny(host, ".:") {
		host, path = defaultRegistry, name
	}
	if host == legacyRegistry {
		host = defaultRegistry
	}
	if host == defaultRegistry && !strings.Contains(path, "/") {
		path = officialPrefix + path
	}
	return host, path
}

// checkHost accepts name[:port], where the name is a domain name, an IPv4
// address, or an IPv6 address in brackets (without a zone: a zone means
// something on one machine only).
func checkHost(s string) error {
	bad := fmt.Errorf("%q is not a registry host", s)
	if len(s) > maxHost {
		return bad
	}
	host, port, found := s, "", false
	if end := strings.IndexByte(s, ']'); strings.HasPrefix(s, "[") {
		if end < 0 {
			return bad
		}
		if ip, err := netip.ParseAddr(s[1:end]); err != nil || !ip.Is6() || ip.Zone() != "" {
			return bad
		}
		rest := s[end+1:]
		if port, found = strings.CutPrefix(rest, ":"); !found && rest != "" {
			return bad
		}
	} else {
		host, port, found = strings.Cut(s, ":")
		for label := range strings.SplitSeq(host, ".") {
			if label == "" || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, notHostChar) {
				return bad
			}
		}
	}
	if found && !isPort(port) {
		return fmt.Errorf("%q is not a port number", port)
	}
	return nil
}

func isPort(s string) bool {
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
		if n = n*10 + int(c-'0'); n > 65535 {
			return false
		}
	}
	return n > 0
}

func checkPath(s string) error {
	if len(s) > maxPath {
		return fmt.Errorf("the repository name is longer than %d characters", maxPath)
	}
	if strings.ToLower(s) != s {
		return errors.New("a repository name must be lower case")
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" {
			return errors.New("a part of the repository name is empty")
		}
		if !validPart(part) {
			return fmt.Errorf("%q must be lower-case letters and digits, with single '.', '_', '__' or dashes between them", part)
		}
	}
	return nil
}

// validPart matches [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*.
func validPart(s string) bool {
	for {
		word := strings.IndexFunc(s, func(c rune) bool { return !isLowerAlnum(c) })
		if word < 0 {
			return s != ""
		}
		if word == 0 {
			return false
		}
		s = s[word:]
		rest := strings.TrimLeft(s, "-")
		if len(rest) == len(s) {
			if rest = strings.TrimPrefix(s, "_"); len(rest) < len(s) {
				rest = strings.TrimPrefix(rest, "_")
			} else {
				rest = strings.TrimPrefix(s, ".")
			}
		}
		if len(rest) == len(s) || rest == "" {
			return false
		}
		s = rest
	}
}

func checkTag(s string) error {
	ok := func(c rune) bool { return isLowerAlnum(c) || c >= 'A' && c <= 'Z' || c == '_' || c == '.' || c == '-' }
	if s == "" {
		return errors.New("nothing follows the colon")
	}
	if len(s) > maxTag || s[0] == '.' || s[0] == '-' || strings.ContainsFunc(s, func(c rune) bool { return !ok(c) }) {
		return fmt.Errorf("%q is not a tag: at most %d letters, digits, '_', '.' and '-', not beginning with '.' or '-'", s, maxTag)
	}
	return nil
}

func notHex(c rune) bool       { return (c < '0' || c > '9') && (c < 'a' || c > 'f') }
func isLowerAlnum(c rune) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
func notHostChar(c rune) bool  { return !isLowerAlnum(c) && (c < 'A' || c > 'Z') && c != '-' }

// String is the canonical form, docker.io/library/alpine:3.20. Parsing it gives
// r again.
func (r Reference) String() string {
	return r.Registry + "/" + r.Repository + r.suffix()
}

// Familiar is the short form that people write, alpine:3.20. Where the short form
// would mean something else (docker.io/localhost/x) it is the canonical one.
func (r Reference) Familiar() string {
	if r.Registry != defaultRegistry {
		return r.String()
	}
	path := r.Repository
	if short, ok := strings.CutPrefix(path, officialPrefix); ok && !strings.Contains(short, "/") {
		path = short
	}
	if again, err := parse(path + r.suffix()); err != nil || again != r {
		return r.String()
	}
	return path + r.suffix()
}

func (r Reference) suffix() string {
	var s string
	if r.Tag != "" {
		s = ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest.String()
	}
	return s
}
