package spec

import (
	"cmp"
	"path"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

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
	user.Umask = o.Umask
	return &specs.Process{
		Terminal:        o.Terminal,
		User:            user,
		Args:            args,
		Env:             env,
		Cwd:             newCwd(img, o),
		Capabilities:    caps,
		Rlimits:         newRlimits(o),
		NoNewPrivileges: o.NoNewPrivileges || o.Security.NoNewPrivileges,
		OOMScoreAdj:     o.OOMScoreAdj,
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
