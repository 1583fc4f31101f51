package main

import (
	"context"
	"os"
)

func Example_talk() {
	if err := talk(context.Background(), os.Stdout, "can you hear me"); err != nil {
		panic(err)
	}
	// Output: CAN YOU HEAR ME
}
