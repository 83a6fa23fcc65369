// Starts the page.

import { render } from "preact";
import { App } from "./app";
import "uplot/dist/uPlot.min.css";
import "./style/base.css";
import "./style/frame.css";
import "./style/profile.css";

render(<App />, document.getElementById("app")!);
