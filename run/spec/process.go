package spec

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultPath is docker's; without one a shell in an image that sets none
// finds nothing.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func newProcess(img Image, files Files, o Options) (*specs.Process, error) {
	user, home, err := ParseUser(cmp.Or(o.User, img.User), files)
	if err != nil {
		return nil, err
	}
	if user.AdditionalGids, err = addGroups(user.AdditionalGids, o.GroupAdd, files); err != nil {
		return nil, err
	}
	args, err := newArgs(img, o)
	if err != nil {
		return nil, err
	}
	env, err := newEnv(img, o, home)
	if err != nil {
		return nil, err
	}
	caps, err := newCapabilities(o, user.UID == 0)
	if err != nil {
		return nil, err
	}
	return &specs.Process{
		Terminal:        o.Terminal,
		User:            user,
		Args:            args,
		Env:             env,
		Cwd:             newCwd(img, o),
		Capabilities:    caps,
		Rlimits:         newRlimits(o),
		NoNewPrivileges: o.NoNewPrivileges,
	}, nil
}

// newArgs is docker's table of Entrypoint and Cmd: the user's words replace
// Cmd; the user's entrypoint replaces Entrypoint and drops Cmd, which was
// written for the other one.
func newArgs(img Image, o Options) ([]string, error) {
	entrypoint, cmd := img.Entrypoint, img.Cmd
	if o.Entrypoint != nil {
		entrypoint, cmd = *o.Entrypoint, nil
		if len(entrypoint) == 1 && entrypoint[0] == "" { // --entrypoint ""
			entrypoint = nil
		}
	}
	if len(o.Args) > 0 {
		cmd = o.Args
	}
	args := slices.Concat(entrypoint, cmd)
	if len(args) == 0 {
		return nil, invalidf("no command to run: %s, so write one after the image's name", whyNoCommand(o))
	}
	if args[0] == "" {
		return nil, invalidf("no command to run: its first word is an empty string")
	}
	return args, nil
}

func whyNoCommand(o Options) string {
	if o.Entrypoint != nil {
		return "an entrypoint of your own, here an empty one, drops the image's command too"
	}
	return "the image has neither Entrypoint nor Cmd"
}

// newEnv lays three layers over each other: defaults, the image's, the user's.
// A later one replaces a variable where it stands, so that no name is there
// twice (getenv takes the first of two, shells the last).
func newEnv(img Image, o Options, home string) ([]string, error) {
	env := environment{at: map[string]int{}}
	env.set("PATH", defaultPath)
	env.set("HOSTNAME", o.Hostname)
	if o.Terminal {
		env.set("TERM", "xterm")
	}
	// What systemd, and scripts that ask "am I in a container?", look at.
	env.set("container", "umiak")
	for _, kv := range img.Env {
		// An entry which is no K=V can't be an environment variable, and its
		// user can't mend the image: leave it out.
		if key, value, ok := strings.Cut(kv, "="); ok && key != "" {
			env.set(key, value)
		}
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
	if !env.has("HOME") {
		env.set("HOME", home)
	}
	return env.strings(), nil
}

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

// newCwd takes the image's directory to be beneath its root. Of the user's a
// relative one is left for checkCwd to refuse, as docker does, since there is
// nothing it could sensibly be relative to. Symbolic links in either are the
// child's business, after pivot_root and as the container's user
// (CVE-2026-55686).
func newCwd(img Image, o Options) string {
	if o.WorkingDir == "" {
		return path.Join("/", img.WorkingDir)
	}
	return path.Clean(o.WorkingDir)
}

// softNofile is the kernel's own default. A high soft limit makes programs that
// close or index every possible descriptor crawl, or take gigabytes
// (moby #45436, #38814); the high hard one lets those that need more ask.
const softNofile = 1024

func newRlimits(o Options) []specs.POSIXRlimit {
	const nofile = "RLIMIT_NOFILE"
	given := func(r specs.POSIXRlimit) bool { return r.Type == nofile }
	if o.NofileHard == 0 || slices.ContainsFunc(o.Ulimits, given) {
		return slices.Clone(o.Ulimits)
	}
	limit := specs.POSIXRlimit{Type: nofile, Hard: o.NofileHard, Soft: min(softNofile, o.NofileHard)}
	return slices.Concat([]specs.POSIXRlimit{limit}, o.Ulimits)
}
