package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
)

// fetchVerb as the first argument makes this program the one of the row "download, then tar": what one would do with
// curl, which not every machine has.
const fetchVerb = "fetch-and-unpack"

func fetchAndUnpack(dir string, urls []string) (status int) {
	for i, url := range urls {
		file := fmt.Sprintf("%s.layer%d", dir, i)
		err := download(url, file)
		if err == nil {
			script := strings.Replace(unpackScript, "DONE", "", 1)
			cmd := exec.Command("/bin/sh", "-c", script, dir, file)
			cmd.Stderr = os.Stderr
			err = cmd.Run()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return 0
}

func download(url, file string) error {
	answer, err := http.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("getting %s: %s", url, answer.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, answer.Body)
	return errors.Join(err, f.Close())
}
