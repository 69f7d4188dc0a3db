// Command umiak runs a container image as if it were a command.
package main

import (
	"context"
	"os"
	"runtime"

	"github.com/umiak/umiak/cmd/cli"
	"github.com/umiak/umiak/run/child"
)

// The first thread stays with the main goroutine: a container must not be the child of a thread
// that another goroutine may end, nor may this one join a cgroup.
func init() { runtime.LockOSThread() }

func main() {
	if child.Main() {
		return
	}
	app := &cli.App{Args: os.Args[1:], In: os.Stdin, Out: os.Stdout, Err: os.Stderr, LookupEnv: os.LookupEnv, Environ: os.Environ()}
	os.Exit(cli.Run(context.Background(), app))
}
