package spec

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// defaultPath is docker's; without one a shell in an image that sets none
// finds nothing.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Environment is where the variables come from beside the image's config and
// Options.Env.
type Environment struct {
	Host      []string // the caller's own, K=V, of which nothing is taken unless asked for
	PassAll   bool     // --env-host
	PassProxy bool     // --http-proxy
	Unset     []string // --unsetenv: names of the image's and of the default ones
	UnsetAll  bool     // --unsetenv-all
}

// newEnv lays layers over each other: the host's if asked for, defaults, the
// image's, the user's. A later one replaces a variable where it stands, so
// that no name is there twice (getenv takes the first of two, shells the last).
func newEnv(img Image, o Options, home string) ([]string, error) {
	env := environment{at: map[string]int{}}
	if !o.Environment.UnsetAll {
		env.setDefaults(img, o)
	}
	for _, key := range o.Environment.Unset {
		if !isVariable(key) {
			return nil, invalidf("environment variable %q to unset: want a name", key)
		}
		env.unset(key)
	}
	for _, kv := range o.Env {
		key, value, ok := strings.Cut(kv, "=")
		switch {
		case key == "":
			return nil, invalidf("environment variable %q: want NAME=VALUE", kv)
		case ok:
			env.set(key, value)
		default:
			env.unset(key)
		}
	}
	kept := !o.Environment.UnsetAll && !slices.Contains(o.Environment.Unset, "HOME")
	if kept && !env.has("HOME") {
		env.set("HOME", home)
	}
	return env.strings(), nil
}

func (e *environment) setDefaults(img Image, o Options) {
	e.set("PATH", defaultPath)
	for _, kv := range o.Environment.Host {
		key, value, ok := strings.Cut(kv, "=")
		if ok && key != "" && (o.Environment.PassAll || o.Environment.PassProxy && isProxy(key)) {
			e.set(key, value)
		}
	}
	e.set("HOSTNAME", hostnameInside(o))
	if o.Terminal {
		e.set("TERM", "xterm")
	}
	// What systemd, and scripts that ask "am I in a container?", look at.
	e.set("container", "umiak")
	for _, kv := range img.Env {
		// An entry which is no K=V can't be an environment variable, and its
		// user can't mend the image: leave it out.
		if key, value, ok := strings.Cut(kv, "="); ok && key != "" {
			e.set(key, value)
		}
	}
}

// isProxy has podman's list: each in lower and in upper case.
func isProxy(key string) bool {
	lower := strings.ToLower(key)
	return (key == lower || key == strings.ToUpper(key)) &&
		slices.Contains([]string{"http_proxy", "https_proxy", "ftp_proxy", "no_proxy"}, lower)
}

func isVariable(s string) bool { return s != "" && !strings.ContainsAny(s, "=\x00") }

// environment is an ordered map; it indexes names because an image may carry
// as many variables as fit into its config.
type environment struct {
	list []string // "" where one was taken away
	at   map[string]int
}

func (e *environment) has(key string) bool {
	_, ok := e.at[key]
	return ok
}

func (e *environment) set(key, value string) {
	i, ok := e.at[key]
	if !ok {
		i = len(e.list)
		e.at[key] = i
		e.list = append(e.list, "")
	}
	e.list[i] = key + "=" + value
}

func (e *environment) unset(key string) {
	if i, ok := e.at[key]; ok {
		e.list[i] = ""
		delete(e.at, key)
	}
}

func (e *environment) strings() []string {
	return slices.DeleteFunc(e.list, func(kv string) bool { return kv == "" })
}

// ParseEnvFile reads the lines of an --env-file as docker does: NAME=VALUE,
// where nothing after the = is taken away or unquoted; NAME alone takes the
// value that lookup gives, and is left out if there is none; # begins a
// comment at a line's start only. Without a lookup, as for --label-file, NAME
// alone stays as it is.
func ParseEnvFile(content []byte, lookup func(name string) (string, bool)) ([]string, error) {
	var out []string
	n := 0
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	for raw := range bytes.Lines(content) {
		n++
		line := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
		line = strings.TrimLeftFunc(line, unicode.IsSpace)
		if line == "" || line[0] == '#' {
			continue
		}
		name, _, hasValue := strings.Cut(line, "=")
		switch {
		case !utf8.ValidString(line) || hasNUL(line):
			return nil, invalidf("line %d: not text in UTF-8", n)
		case name == "":
			return nil, invalidf("line %d: no name before the =", n)
		case strings.ContainsAny(name, " \t"):
			return nil, invalidf("line %d: the name %q has a space in it", n, name)
		}
		if !hasValue && lookup != nil {
			value, ok := lookup(name)
			if !ok {
				continue
			}
			line = name + "=" + value
		}
		out = append(out, line)
	}
	return out, nil
}

// ParseLabel reads NAME[=VALUE], for --label and --annotation.
func ParseLabel(s string) (name, value string, err error) {
	name, value, _ = strings.Cut(s, "=")
	if name == "" || strings.ContainsAny(s, "\x00") || strings.ContainsAny(name, " \t\r\n") {
		return "", "", invalidf("label %q: want NAME=VALUE", s)
	}
	return name, value, nil
}
