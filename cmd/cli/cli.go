// Package cli is the command line: flags in, decisions, messages out.
//
// It is the only package that reads the environment, writes to the user and knows of exit
// statuses; one file a verb. What a verb does is done by the packages below it.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// App is one invocation of the command and its surroundings.
type App struct {
	Args      []string // without the program's name
	In        *os.File
	Out, Err  *os.File
	LookupEnv func(string) (string, bool)
	Environ   []string // all of the caller's variables
	root      string   // --root
}

// Run runs the command line and returns the exit status: the container's for run, 0 for success,
// 125 for an error of ours, 126 and 127 when the container's command could not be started or
// found. A signal before a container runs stops what is under way, which cleans up after itself,
// and gives 128 plus its number.
func Run(ctx context.Context, a *App) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, heeded(unix.SIGINT, unix.SIGTERM, unix.SIGHUP)...)
	defer signal.Stop(signals)
	go func() {
		if s, ok := (<-signals).(unix.Signal); ok {
			cancel(interrupted(s))
		}
	}()
	root := a.command()
	root.SetArgs(a.Args)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	err := root.ExecuteContext(ctx)
	if err != nil && strings.HasPrefix(err.Error(), "unknown command") && len(a.Args) > 0 {
		err = hinted(err, "to run an image: umiak run "+a.Args[0])
	}
	if s, ok := errors.AsType[interrupted](context.Cause(ctx)); ok && err != nil && !isStatus(err) {
		err = s
	}
	return a.fail(err)
}

// heeded leaves out SIGHUP if this process was told to ignore it, by nohup(1): to be notified of it
// would be to heed it again. (A shell's background jobs ignore SIGINT, too; whoever sends one to a
// job of his means it.)
func heeded(signals ...os.Signal) []os.Signal {
	return slices.DeleteFunc(signals, func(s os.Signal) bool { return s == unix.SIGHUP && signal.Ignored(s) })
}

// Getenv is a variable of the caller's, "" if it is not set.
func (a *App) Getenv(name string) string {
	v, _ := a.LookupEnv(name)
	return v
}

func (a *App) command() *cobra.Command {
	c := &cobra.Command{
		Use:   "umiak",
		Short: "Run a container image as if it were a command",
		Long: `umiak runs a container image as if it were a command. It pulls the image once,
flattens its layers into a cached root file system, and makes that the root of a
process in namespaces of its own, under limits of its own. There is no daemon.`,
		Example: `  umiak run alpine sh                  a shell in Alpine Linux
  umiak run --memory 100m alpine ./hungry.sh
  umiak pull --platform linux/arm64 alpine:3.20
  umiak images`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	c.PersistentFlags().StringVar(&a.root, "root", "", "directory of the image cache (UMIAK_ROOT)")
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if errors.Is(err, pflag.ErrHelp) {
			return err
		}
		if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
			if h, ok := errors.AsType[*hintError](e.Unwrap()); ok {
				return h
			}
			err = fmt.Errorf("--%s: %w", e.GetFlag().Name, e.Unwrap())
		}
		return usageError{c, err}
	})
	c.Version = version()
	c.SetVersionTemplate(versionLine())
	c.AddCommand(a.runCommand(), a.pullCommand(), a.bundleCommand(), a.imagesCommand(), a.rmiCommand(), a.unpackCommand(), a.verifyCommand(), a.versionCommand())
	strictCompletion(c)
	return c
}

// strictCompletion makes a shell that is not known an error, and not a page of help.
func strictCompletion(c *cobra.Command) {
	c.InitDefaultCompletionCmd()
	for _, sub := range c.Commands() {
		if sub.Name() == "completion" {
			sub.Args = func(c *cobra.Command, args []string) error {
				if len(args) > 0 {
					return usageError{c, fmt.Errorf("shell %q: unknown", args[0])}
				}
				return usageError{c, errors.New("missing a shell")}
			}
			sub.RunE = func(*cobra.Command, []string) error { return nil }
		}
	}
}

// usageError is a command line that makes no sense.
type usageError struct {
	command *cobra.Command
	err     error
}

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// wantArgs refuses a wrong number of arguments in words.
func wantArgs(least, most int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usageError{c, errors.New("missing " + what)}
		case most >= 0 && len(args) > most:
			return usageError{c, errors.New("too many arguments: only " + what + " is expected")}
		}
		return nil
	}
}

// cacheDir is where images are kept: --root, UMIAK_ROOT, and then by who we are. A plain user's
// home may be unset or unwritable in CI, so there is a last resort that survives a reboot.
func (a *App) cacheDir() (string, error) {
	for _, dir := range []string{a.root, a.Getenv("UMIAK_ROOT")} {
		if dir != "" {
			return filepath.Abs(dir)
		}
	}
	if os.Geteuid() == 0 {
		return "/var/lib/umiak", nil
	}
	var tried []string
	if dir := a.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		tried = append(tried, filepath.Join(dir, "umiak"))
	}
	if home := a.Getenv("HOME"); filepath.IsAbs(home) {
		tried = append(tried, filepath.Join(home, ".local/share/umiak"))
	}
	tried = append(tried, "/var/tmp/umiak-"+itoa(os.Getuid()))
	for _, dir := range tried {
		if usable(dir) {
			return dir, nil
		}
	}
	return "", hinted(errors.New("no directory for the image cache can be written"), "set UMIAK_ROOT to a directory of your own")
}

// usable says whether a directory is ours alone, or could be made: in /var/tmp somebody else may
// have made it first, to have us run what they put there. It makes nothing.
func usable(dir string) bool {
	fi, err := os.Lstat(dir)
	if err == nil {
		return fi.IsDir() && owner(fi) == os.Getuid() && fi.Mode().Perm()&0o022 == 0
	}
	for parent := filepath.Dir(dir); ; parent = filepath.Dir(parent) {
		if _, err := os.Stat(parent); err == nil {
			return unix.Access(parent, unix.W_OK) == nil
		}
		if parent == "/" {
			return false
		}
	}
}
