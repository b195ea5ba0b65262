// SPDX-License-Identifier: GPL-2.0

// A TCP echo server with a goroutine for each client. A line `panic` ends its connection by a nil
// pointer, from which the server recovers. It answers a line `sleep MILLISECONDS` with `slept`
// after that time, and a line `collect` with `collected` after a garbage collection.
package main

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"runtime"
	"strings"
	"time"
)

const port = ":5555"

func answer(line []byte) []byte {
	words := strings.TrimSuffix(string(line), "\n")
	if words == "panic" {
		var nothing *int
		*nothing = 1
	}
	if words == "collect" {
		runtime.GC()
		return []byte("collected\n")
	}
	var milliseconds int
	if _, err := fmt.Sscanf(words, "sleep %d", &milliseconds); err == nil {
		time.Sleep(time.Duration(milliseconds) * time.Millisecond)
		return []byte("slept\n")
	}
	return line
}

func serve(connection net.Conn) {
	defer connection.Close()
	defer func() {
		if reason := recover(); reason != nil {
			log.Print("recovered: ", reason)
		}
	}()
	input := bufio.NewReader(connection)
	for {
		line, err := input.ReadSlice('\n')
		if len(line) > 0 {
			if _, failed := connection.Write(answer(line)); failed != nil {
				return
			}
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

func main() {
	listener, err := net.Listen("tcp", port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on port", port[1:])
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(connection)
	}
}
